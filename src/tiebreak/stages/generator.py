"""Answers by a program in an environment of its own (`evaluation.generator`, docs/generation.md).

The program reads requests and writes answers, JSONL of token ids both. It is started without a
shell, in a process group of its own that ends with it, and its standard input ends when we do. What
it answered before it failed is kept; the failure is one line with file and line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.config.schema import GeneratorConfig
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder
from tiebreak.kept_answers import KeptAnswers
from tiebreak.model_folder import ADAPTER_CONFIG, adapter_base

REQUESTS, ANSWERS, LOG = "requests.jsonl", "answers.jsonl", "log.txt"
KEY = "evaluation.generator"
GRACE = 10.0  # seconds between asking a program to end and ending it
SCRIPTS = Path(__file__).resolve().parents[1] / "generators"
# Of our environment: another Python must not import from ours, nor take itself for a rank.
_OURS = frozenset(
    "PYTHONPATH PYTHONHOME VIRTUAL_ENV RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR "
    "MASTER_PORT GROUP_RANK ROLE_RANK ROLE_WORLD_SIZE".split()
)


@dataclass(frozen=True)
class Weights:
    """Where a model under evaluation is. start: folder or Hub id, at a commit; trained: what align
    left of it, if it is a policy."""

    start: str | Path
    commit: str | None
    trained: Path | None

    def folders(self) -> tuple[Path, Path | None]:
        """(folder of a whole model, folder of a LoRA adapter on it or None). UserError: an adapter
        on an adapter, or the Hub cannot be reached."""
        adapter = self.trained
        if adapter is not None and not (adapter / ADAPTER_CONFIG).is_file():
            return adapter, None
        base = adapter_base(self.start)
        if base is None:
            return _local(str(self.start), self.commit), adapter
        if adapter is not None or adapter_base(base.place) is not None:
            raise UserError(
                f"{KEY}.command: the model is an adapter on an adapter ({self.start}), and a "
                "program is given one at most; merge the first into its base and start from that"
            )
        return _local(base.place, self.commit or base.revision), Path(self.start)


def _local(source: str, commit: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folder = checkpoint_folder(source)
    if folder is not None:
        return folder
    try:
        files = ["*.safetensors", "*.json", "tokenizer*"]
        return Path(snapshot_download(source, revision=commit, allow_patterns=files))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"model {source} could not be fetched: {said}; give a folder") from error


@dataclass(frozen=True)
class Request:
    """A line of the program's input. temperature 0: greedily; else from the whole distribution,
    with a seed that belongs to this request. A response ends with one of end_token_ids, which is
    part of it, or after max_new_tokens."""

    id: str
    prompt_token_ids: Sequence[int]
    max_new_tokens: int
    temperature: float
    seed: int
    end_token_ids: Sequence[int]


def seed_of(seed: int, name: str) -> int:
    """A seed of 31 bits that belongs to an evaluation's seed and an item's name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big") >> 1


def generate(
    generator: GeneratorConfig, weights: Weights, precision: str, requests: Sequence[Request],
    kept: KeptAnswers, folder: Path,
) -> None:  # fmt: skip
    """Have the program answer the requests (one at least, of different ids); its answers, token
    ids, are added to `kept` by their ids. folder: for its input, its output and what it says.
    UserError: it cannot be started, says another version, fails, hangs, or its answers are not one
    to each request; those that are right are kept all the same."""
    folder.mkdir(parents=True, exist_ok=True)
    model, adapter = weights.folders()
    places = {"model": model, "adapter": adapter or "", "requests": folder / REQUESTS,
              "answers": folder / ANSWERS, "precision": precision, "scripts": SCRIPTS}  # fmt: skip
    if adapter is not None and not any("{adapter}" in word for word in generator.command):
        raise UserError(
            f"{KEY}.command has no {{adapter}}, and the model is an adapter on {model}; add a word "
            "with it (it is empty for a whole model), or train with train.adapter=none"
        )
    words = [_filled(word, places) for word in generator.command]
    _check_version(generator, words, folder)
    lines = [json.dumps(vars(request)) for request in requests]
    (folder / REQUESTS).write_text("".join(line + "\n" for line in lines))
    (folder / ANSWERS).write_bytes(b"")
    failure = _run(words, generator.timeout, folder)
    found, wrong = read_answers(
        folder / ANSWERS, {request.id: request for request in requests}, vocabulary(model)
    )
    kept.add(found)
    missing = [number for number, one in enumerate(requests, 1) if one.id not in found]
    if failure is None and wrong is None and missing:
        wrong = (f"{folder / ANSWERS}: no answer to {requests[missing[0] - 1].id!r} "
                 f"({folder / REQUESTS}:{missing[0]})")  # fmt: skip
    if failure is not None or wrong is not None:
        raise UserError(
            f"{KEY}.command: {failure or wrong}; {len(found)} of {len(requests)} answers are kept, "
            "and the same command asks for the others"
        )


def _filled(word: str, places: Mapping[str, object]) -> str:
    for name, place in places.items():
        word = word.replace(f"{{{name}}}", str(place))
    return word


def _check_version(generator: GeneratorConfig, words: list[str], folder: Path) -> None:
    """UserError unless the program says the version that the evaluator's key has."""
    log = folder / LOG
    with log.open("wb") as errors, _started([*words, "--version"], errors) as process:
        try:
            out, _ = process.communicate(timeout=generator.timeout)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{KEY}.command: with --version it said nothing for {generator.timeout:g} s "
                f"({KEY}.timeout) and was ended"
            ) from None
    if process.returncode:
        raise UserError(f"{KEY}.command: with --version it {_ended(process.returncode, log)}")
    said = " ".join(out.decode("utf-8", "replace").split())
    if said != generator.version:
        raise UserError(
            f"{KEY}.version={generator.version!r}, and the command says {said!r} (--version); give "
            f"{KEY}.version={said!r}, which measures anew, or the program that is meant"
        )


def _run(words: list[str], timeout: float, folder: Path) -> str | None:
    """Wait until the program has ended. What went wrong, in words, or None."""
    log, answers = folder / LOG, folder / ANSWERS
    with log.open("wb") as said, _started(words, said, stdout=said) as process:
        size, last = 0, time.monotonic()
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            now, grown = time.monotonic(), answers.stat().st_size
            if grown != size:
                size, last = grown, now
            elif now - last > timeout:
                return (f"no new answer for {timeout:g} s ({KEY}.timeout), and it was ended; "
                        f"{_last_words(log)}")  # fmt: skip
    return f"it {_ended(process.returncode, log)}" if process.returncode else None


@contextlib.contextmanager
def _started(words: list[str], errors: Any, stdout: Any = subprocess.PIPE) -> Any:
    """The program; its process group is ended when the block is left, however that is."""
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=stdout, stderr=errors, env=environment,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"{KEY}.command: {words[0]!r} cannot be started ({error.strerror}); give a program's "
            "path, and its arguments as words of their own: it is started without a shell"
        ) from error
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                _signal(process, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
            _signal(process, signal.SIGKILL)  # what it started and left behind, too


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _ended(code: int, log: Path) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{how}; {_last_words(log)}"


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    for number in range(len(lines), 0, -1):
        if lines[number - 1].strip():
            return f"its last words: {lines[number - 1].strip()[:300]!r} ({log}:{number})"
    return f"it said nothing ({log})"


def read_answers(
    path: Path, asked: Mapping[str, Request], vocabulary: int
) -> tuple[dict[str, list[int]], str | None]:
    """(the right answers by id, the first thing that is wrong, with file:line, or None)."""
    found: dict[str, list[int]] = {}
    lines: dict[str, int] = {}
    wrong = None
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            name, ids = _answer(line, asked, vocabulary)
            if name in lines:
                raise ValueError(f"id {name!r} is there already, at {path}:{lines[name]}")
        except ValueError as error:
            wrong = wrong or f"{path}:{number}: {error}"
            continue
        found[name], lines[name] = ids, number
    return found, wrong


def _answer(line: bytes, asked: Mapping[str, Request], vocabulary: int) -> tuple[str, list[int]]:
    """(id, token ids) of a line. ValueError: it is no answer to a request."""
    try:
        row = json.loads(line)
    except ValueError:
        raise ValueError(f"not JSON: {line[:60].decode('utf-8', 'replace')!r}") from None
    if not isinstance(row, dict) or not {"id", "token_ids"} <= row.keys():
        raise ValueError("not an object with id and token_ids")
    name, ids = row["id"], row["token_ids"]
    if not isinstance(name, str) or name not in asked:
        raise ValueError(f"id {name!r} was not asked for")
    if not isinstance(ids, list) or not ids or any(type(one) is not int for one in ids):
        raise ValueError(f"token_ids of {name!r} are not a list of one whole number or more")
    outside = [one for one in ids if not 0 <= one < vocabulary]
    if outside:
        raise ValueError(f"token {outside[0]} of {name!r} is none of the model's {vocabulary}")
    request = asked[name]
    if len(ids) > request.max_new_tokens:
        raise ValueError(
            f"{len(ids)} tokens for {name!r}, and at most {request.max_new_tokens} were asked for"
        )
    if any(one in request.end_token_ids for one in ids[:-1]):
        raise ValueError(f"token_ids of {name!r} go on after the end token")
    return name, ids


def vocabulary(model: Path) -> int:
    """Number of tokens that the model of a folder knows."""
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(model, trust_remote_code=False)
    return config.get_text_config().vocab_size
