"""Conversations as text: by the tokenizer's chat template, a file, or a template that ships under a
name (conf/chat_template). A template sees the row and nothing else: its date is always DATE, and it
may not draw at random."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tiebreak.data.examples import Message
from tiebreak.errors import UserError, nearest
from tiebreak.home import shipped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE = datetime(2024, 7, 26)  # the day that Llama 3.1's template writes where it is told none
# Fields that name things, and that many templates have no place for.
_NAMES = frozenset({"role", "type", "id", "tool_call_id"})


def named() -> dict[str, Path]:
    """The templates that ship, by name."""
    return {path.stem: path for path in sorted((shipped("conf") / "chat_template").glob("*.jinja"))}


def read_template(given: str, key: str = "model.chat_template") -> str:
    """The text of the template that ships as `given`, or of that file. UserError without one."""
    path = named().get(given, Path(given))
    if not path.is_file():
        raise UserError(f"{key}={given}: no such file; give {_others()}{nearest(given, named())}")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{key}={given}: not UTF-8 ({error}); save it so") from error


def active(tokenizer: PreTrainedTokenizerBase, template: Mapping[str, Any]) -> str | None:
    """The text of the template that writes a row: a tokenizer may have several."""
    if tokenizer.chat_template is None:
        return None
    return tokenizer.get_chat_template(tools=template.get("tools"))


def variables(text: str) -> set[str]:
    """Every name that a template reads: messages, tools, strftime_now, enable_thinking, ..."""
    from jinja2 import nodes

    parsed = _compiled(text).environment.parse(text)
    return {node.name for node in parsed.find_all(nodes.Name) if node.ctx == "load"}


def render(
    messages: list[Message],
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    template: Mapping[str, Any],
    prompt: bool,
) -> str:
    """The conversation as text. template: tools, documents and arguments of the template's own.
    prompt: with the generation prompt. UserError names `where`, or the template where it fails on
    every conversation."""
    if tokenizer.chat_template is None:
        raise UserError(
            f"{where}: a conversation, but the tokenizer has no chat template; start from an "
            f"instruct model, set model.chat_template to {_others()}, or give plain prompts"
        )
    if taken := sorted(_taken() & set(template)):
        raise UserError(
            f"{where}: chat_template_kwargs has {taken[0]!r}, which is no variable of a template; "
            "take it out"
        )
    try:
        return _written(messages, tokenizer, template, prompt)
    except _failures() as error:
        why = str(error).partition("\n")[0]
        if "TemplateError" != type(error).__name__:  # which raise_exception raises
            why = f"{type(error).__name__}: {why}"
        if _fails(tokenizer, template):
            fault = f"model.chat_template fails on every conversation ({why}); repair it"
        else:
            fault = f"the chat template refuses this conversation ({why}); repair the row"
        raise UserError(f"{where}: {fault}, or set model.chat_template to {_others()}") from error


def pin(tokenizer: PreTrainedTokenizerBase) -> None:
    """Lets the library's own `apply_chat_template` write what `render` would: what the template
    takes from outside the conversation is replaced in the library's compiled copy of it."""
    if (text := active(tokenizer, {})) is not None:
        _compiled(text)


def left_out(given: Any, text: str, field: str) -> Iterator[tuple[str, str]]:
    """(its field, the text) of each text in a message, in tools or documents that `text` lacks."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            if key not in _NAMES:
                yield from left_out(value, text, f"{field}.{key}")
    elif isinstance(given, list | tuple):
        for value in given:
            yield from left_out(value, text, field)
    elif isinstance(given, str) and not _holds(text, given.strip()):
        yield field, given


def _holds(text: str, part: str) -> bool:
    """As it is, as JSON writes it, with other white space; of JSON its own texts count."""
    if part in text or any(json.dumps(part, ensure_ascii=a)[1:-1] in text for a in (True, False)):
        return True
    if part[:1] in ("{", "["):
        try:
            return not any(left_out(json.loads(part), text, ""))
        except (ValueError, RecursionError):
            pass
    return "".join(part.split()) in "".join(text.split())


def _written(
    messages: list[Message],
    tokenizer: PreTrainedTokenizerBase,
    template: Mapping[str, Any],
    prompt: bool,
) -> str:
    text = active(tokenizer, template)
    assert text is not None
    _compiled(text)
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=prompt, **template
    )
    assert isinstance(rendered, str)
    return rendered


def _compiled(text: str) -> Any:
    """As the library keeps it for `apply_chat_template`, which has no argument for functions: those
    that bring something from outside the row are put in its place in the kept one."""
    from transformers.utils import chat_template_utils

    compiled = chat_template_utils._compile_jinja_template(text)
    compiled.environment.globals |= {"strftime_now": DATE.strftime, "lipsum": _no_chance}
    compiled.environment.filters["random"] = _no_chance
    return compiled


def _no_chance(*_: object, **__: object) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError("it draws at random, so no two renderings are the same")


def _fails(tokenizer: PreTrainedTokenizerBase, template: Mapping[str, Any]) -> bool:
    """Whether the template cannot write a question or an answer at all."""
    turns: list[Message] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    try:
        _written(turns[:1], tokenizer, template, prompt=True)
        _written(turns, tokenizer, template, prompt=False)
    except _failures():
        return True
    return False


def _failures() -> tuple[type[BaseException], ...]:
    """What code in a template can raise."""
    from jinja2 import TemplateError

    return (
        TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, SyntaxError,
        TypeError, ValueError,
    )  # fmt: skip


@functools.cache
def _taken() -> frozenset[str]:
    """Arguments of `apply_chat_template` that no template sees."""
    from transformers import PreTrainedTokenizerBase

    arguments = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    return frozenset({"messages", *arguments} - {"tools", "documents", "kwargs"})


def _others() -> str:
    return f"a Jinja file or one of {', '.join(named())}"
