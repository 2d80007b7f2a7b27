"""The page in headless Chromium: nothing wrong in the console, nothing asked for, controls work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_browser import MISSING, Browser
from page_study import HOSTILE, page_of

from tiebreak_analysis.page import server as page_server

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

DRAWN = "return document.querySelectorAll('#curves .plot .main-svg').length > 0"
TRACES = "return [...document.querySelectorAll('#curves .js-plotly-plot')].map(p => p.data.length)"
TRACES_BELOW = f"const [first] = (() => {{{{ {TRACES} }}}})(); return first < {{}} ? first : 0"
EVERY_CHART = """
const bare = [...document.querySelectorAll('.plot')].find((one) => !one.querySelector('.main-svg'));
if (bare) bare.scrollIntoView();
return !bare;
"""
CLICK = """
const found = [...document.querySelectorAll('#filters .chip')]
  .find((chip) => chip.dataset.name === arguments[0]);
found.click();
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """The page of the study, made once: the same records give the same bytes."""
    return {}


@pytest.fixture
def file(request: pytest.FixtureRequest, written: dict[str, str], tmp_path: Path) -> str:
    """The address of the page on disk."""
    if not written:
        written["page"] = page_of(request.getfixturevalue("study"))
    place = tmp_path / "page.html"
    place.write_text(written["page"], encoding="utf-8")
    return place.as_uri()


@pytest.fixture
def opened(browser: Browser, file: str) -> Iterator[Browser]:
    """The page from its file, the first charts drawn."""
    browser.console(), browser.requests()
    browser.open(file)
    browser.until("document.getElementById('curves').scrollIntoView(); " + DRAWN)
    yield browser
    browser.run("sessionStorage.clear()")


def test_no_console_message_and_no_request(opened: Browser) -> None:
    opened.until(EVERY_CHART)
    assert opened.console() == []
    asked = opened.requests()
    assert any(one.startswith("file:///") for one in asked)
    assert [one for one in asked if not one.startswith(("file:///", "data:", "blob:"))] == []


def test_the_policy_bars_what_a_page_could_ask(opened: Browser) -> None:
    opened.run(
        "new Image().src = 'http://127.0.0.1:9/x.png';"
        "const own = document.createElement('script'); own.textContent = 'window.mine = 1';"
        "document.head.append(own);"
    )
    assert opened.run("return window.mine === undefined")
    assert any("Content Security Policy" in line for line in opened.console())


def test_hostile_text_is_shown_as_text(opened: Browser) -> None:
    opened.run("document.getElementById('answers').scrollIntoView()")
    opened.until("return document.querySelector('#answers .prompt')")
    shown = opened.run("return document.getElementById('answers').textContent")
    assert HOSTILE + "0" in shown and f"0: {HOSTILE}" in shown
    assert opened.run("return document.querySelectorAll('img, main script').length") == 0


def test_method_and_seed_filters(opened: Browser) -> None:
    every = opened.until(DRAWN) and opened.run(TRACES)[0]
    opened.run(CLICK, "ipo")
    fewer = opened.until(TRACES_BELOW.format(every))
    opened.run(CLICK, "3")
    assert opened.until(TRACES_BELOW.format(fewer)) > 0


def test_choices_survive_a_reload(opened: Browser) -> None:
    opened.run(CLICK, "ipo")
    opened.run("location.reload()")
    pressed = (
        "return document.querySelector('#filters [data-name=ipo]').getAttribute('aria-pressed')"
    )
    assert opened.until(pressed) == "false"


def test_headings_sort_inside_a_scenario(opened: Browser) -> None:
    values = """
    document.querySelectorAll('.leaderboard th.number button')[0].click();
    return [...document.querySelector('.leaderboard').tBodies].map((body) =>
      [...body.rows].slice(1).map((row) => [row.className, Number(row.cells[1].dataset.value)]));
    """
    down, up = opened.run(values), opened.run(values)
    for block in (*down, *up):
        assert block[0][0] == "start"
    assert [v for _, v in down[0][1:]] == sorted((v for _, v in down[0][1:]), reverse=True)
    assert up[0][1:] == down[0][:0:-1]


def test_light_and_dark(opened: Browser) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    before = opened.run(paper)
    opened.run("document.getElementById('theme').click()")
    assert opened.run(paper) != before
    assert opened.run("return document.documentElement.dataset.theme") in ("dark", "light")
    opened.run("document.getElementById('theme').click()")
    assert opened.run(paper) == before


def test_every_control_has_a_name_and_takes_the_focus(opened: Browser) -> None:
    nameless = """
    document.querySelectorAll('details').forEach((one) => { one.open = true; });
    return [...document.querySelectorAll('button, select, a, summary')].filter((one) => {
      const name = one.textContent.trim() || one.getAttribute('aria-label');
      one.focus();
      return one.offsetParent && (!name || document.activeElement !== one);
    }).map((one) => one.outerHTML);
    """
    assert opened.run(nameless) == []


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1024, 700), (700, 900)])
def test_nothing_is_wider_than_the_window(opened: Browser, width: int, height: int) -> None:
    opened.resize(width, height)
    opened.until(EVERY_CHART)
    root = "document.documentElement"
    assert opened.run(f"return {root}.scrollWidth - {root}.clientWidth") <= 0
    opened.resize(1366, 768)


def test_without_scripts_the_tables_are_there(file: str) -> None:
    with Browser(scripts=False) as plain:
        plain.open(file)
        shown = plain.text()
    assert "Scripts are off" in shown
    assert "tied for best" in shown and "start model" in shown
    assert "code commit" in shown


def test_a_live_page_takes_new_runs_and_keeps_the_choices(
    browser: Browser, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "REST", 0.0)
    server = page_server.serve(lambda: page_of(study, live=True), study)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        browser.open(f"http://127.0.0.1:{server.server_port}/")
        browser.until("document.getElementById('curves').scrollIntoView(); " + DRAWN)
        browser.run(CLICK, "ipo")
        going = next(p.parent for p in study.glob("*/status.json") if '"running"' in p.read_text())
        with (going / "metrics.jsonl").open("a") as more:
            more.write('{"step": 8, "loss": 0.5, "brand/new": 1.0}\n')
        browser.until("return document.querySelector('#curve-names [data-name=\"brand/new\"]')")
        assert browser.run("return document.querySelector('#filters [data-name=ipo]')"
                           ".getAttribute('aria-pressed')") == "false"  # fmt: skip
        assert [line for line in browser.console() if "SEVERE" in line] == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
