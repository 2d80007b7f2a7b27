"""The page as a file: nothing in it can run that we did not write, and nothing is loaded."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from page_study import HOSTILE, page_of

from tiebreak_analysis.page import write
from tiebreak_analysis.page.markup import tag
from tiebreak_analysis.page.page import script_safe
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison

VOID = {"meta", "link", "br", "img", "input"}


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of each that has an id or is raw."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._inside: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw.append((*self._inside, data))
        else:
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def names(self) -> set[str]:
        return {name for name, _ in self.elements}


def payload(text: str) -> dict[str, Any]:
    found = [data for _, attributes, data in Parsed(text).raw if attributes.get("id") == "data"]
    return json.loads("".join(found))


def packed_texts(text: str) -> dict[str, Any]:
    """What the models wrote, as the browser unpacks it."""
    found = [data for _, attributes, data in Parsed(text).raw if attributes.get("id") == "texts"]
    return json.loads(gzip.decompress(base64.b64decode("".join(found))))


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return {}


@pytest.fixture
def page(request: pytest.FixtureRequest, written: dict[str, str]) -> str:
    """Made once: the same records give the same bytes."""
    if not written:
        written["page"] = page_of(request.getfixturevalue("study"))
    return written["page"]


def test_json_cannot_close_its_script_element() -> None:
    told = {"text": HOSTILE, "sep": "\u2029"}
    text = script_safe(told)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == told


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        script_safe(float("nan"))


def test_text_is_escaped_where_it_enters() -> None:
    assert tag("p", HOSTILE, title='"><b>').text.count("<") == 2
    assert tag("p", "x", hidden=True, title=None).text == "<p hidden>x</p>"


def test_a_generation_with_a_script_is_data(page: str) -> None:
    told = packed_texts(page)
    assert told["prompts"][0][:2] == ["p0", f"0: {HOSTILE}"]
    assert HOSTILE + "0" in told["prompts"][0][2]
    (held,) = [data for _, a, data in Parsed(page).raw if a.get("id") == "texts"]
    assert re.fullmatch("[A-Za-z0-9+/=]+", held)


def test_no_element_comes_from_a_record(page: str) -> None:
    parsed = Parsed(page)
    ids = [attributes.get("id") for name, attributes in parsed.elements if name == "script"]
    assert ids == ["data", "library", "texts", "program"]
    assert parsed.names().isdisjoint({"img", "iframe", "object", "embed", "base", "form input"})
    assert not any("style" in a or any(k.startswith("on") for k in a) for _, a in parsed.elements)
    assert HOSTILE in "".join(parsed.words), "the running method's setting, shown as text"


def test_nothing_is_loaded(page: str) -> None:
    assert "http://" not in page and "https://" not in page
    loaders = [
        (name, a)
        for name, a in Parsed(page).elements
        if "src" in a or (name in ("link", "use", "image") and a.get("href") != "data:,")
    ]
    assert loaders == []


def test_the_policy_names_what_is_there_and_nothing_else(page: str) -> None:
    parsed = Parsed(page)
    metas = [a for name, a in parsed.elements if name == "meta" and "http-equiv" in a]
    policy = str(metas[0]["content"])
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "connect-src" not in policy
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    styles = [hashed(data) for name, _, data in parsed.raw if name == "style"]
    assert rules["style-src"] == styles and len(styles) == 2
    program = [hashed(data) for _, a, data in parsed.raw if a.get("id") == "program"]
    assert rules["script-src"][:1] == program and len(rules["script-src"]) == 2


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_only_a_live_page_may_ask_and_only_its_own_server(study: Path) -> None:
    assert "connect-src 'self'" in page_of(study, live=True)


def test_same_records_same_bytes(study: Path) -> None:
    assert page_of(study) == page_of(study)


def test_a_page_without_a_single_run_says_so(tmp_path: Path) -> None:
    text = write("nothing yet", load(tmp_path / "runs"))
    assert "runs: none" in "".join(Parsed(text).words)
    assert payload(text)["groups"] == []


def test_findings_come_first(study: Path) -> None:
    said = page_of(study, findings=["simpo <wins>"])
    assert said.index("simpo &lt;wins&gt;") < said.index("tied for best")


def test_running_runs_have_curves_and_no_result(page: str) -> None:
    told = payload(page)
    running = next(group for group in told["groups"] if group["label"] == "simpo")
    assert running["id"] in told["curves"]["metrics"]["loss"]
    assert running["id"] not in told["results"]["groups"]
    assert not {key for key, _ in running["runs"]} & set(told["answers"]["runs"])


def test_a_torn_record_is_named(page: str) -> None:
    assert "result.json cannot be read" in "".join(Parsed(page).words)


def test_small_enough(page: str) -> None:
    assert len(page.encode()) < 3_000_000


def test_several_tables_have_their_headings(study: Path) -> None:
    runs = load(study)
    tables = {name: comparison(runs) for name in ("main <one>", "other")}
    words = Parsed(write("a study", runs, tables)).words
    assert words.count("main <one>") == words.count("other") == 1
    assert any("(main <one>): " in word for word in words)
