"""docs/models.md says what the trial of each architecture gives now (some here, all in the proof),
and no architecture is left out of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import models

ROOT = Path(__file__).resolve().parents[1]
PAGE = models.PAGE.read_text()
# One or more of each layout, of what is refused, and of heads, windows, experts and own masks.
SAMPLE = ["bert", "bloom", "cohere", "cpmant", "gemma2", "gpt2", "gptj", "llama", "mpt", "qwen2",
          "rwkv", "xlnet"]  # fmt: skip


def rows(page: str) -> dict[str, str]:
    """Model type -> its line, in any of the page's tables."""
    return {name: line for line in page.splitlines()
            if (name := "".join(re.findall(r"^\| `([^`]+)` \|", line)))}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # an architecture's own; the page is about its numbers
@pytest.mark.parametrize("kind", SAMPLE)
def test_the_page_says_what_the_trial_gives(kind, tmp_path):
    from benchmarks.model_trial import tried

    found = tried(kind, tmp_path)
    assert not models.is_wrong(found)
    assert f"| {' | '.join(models.cells(found))} |" == rows(PAGE)[kind]


def test_every_architecture_is_on_the_page_and_counted():
    tables = PAGE.split("\n## ")
    counted, apart, sides = (rows(table) for table in tables)
    assert sorted(counted | apart) == models.kinds() and set(apart) == set(models.APART)
    assert sorted(sides) == models.image_kinds()
    number = {name: int(n) for name, n in re.findall(r"^\| (.+?) \| (\d+)", PAGE, re.M)}
    layout = [line.split(" | ")[1] for line in counted.values()]
    right = [layout.count(name) for name in ("shared", "separate", "alone")]
    assert number["log-probs and gradient right in some layout"] == sum(right)
    assert [number["- in the shared layout"], layout.count("**wrong**")] == [right[0], 0]
    assert number["wrong, and nothing says so"] == 0
    assert sum(right) >= 0.9 * len(counted) and right[0] >= 0.7 * len(counted)
    said = re.search(r"(\d+) of (\d+) architectures", (ROOT / "README.md").read_text())
    assert said and said.groups() == (str(sum(right)), str(len(counted)))


def test_an_architecture_that_fails_is_a_row_with_its_error():
    row = {"kind": "odd", "error": "ValueError: a | b", "seconds": 1.0}
    assert models.cells(row) == ["`odd`", "not tried", "ValueError: a / b", "", "", ""]
    wrong = {"kind": "odd", "layout": "shared", "why": "", "off": 0.5, "gradient": 0.0}
    assert models.is_wrong(wrong) and not models.is_right(wrong)
    assert models.cells(wrong)[1] == "**wrong**"
    lost = wrong | {"off": 0.0, "gradient": float("nan")}
    assert models.is_wrong(lost)


def test_a_name_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        models.main(["--only", "lama"])
    assert "no causal language model lama" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_is_what_a_new_trial_of_all_gives(tmp_path):
    assert (
        models.main(["--results", str(tmp_path / "new.json"), "--page", str(tmp_path / "p")]) == 0
    )
    new = (tmp_path / "p").read_text()
    assert rows(new) == rows(PAGE)
    minutes = re.compile(r"\d+ minutes")
    assert minutes.sub("", new) == minutes.sub("", PAGE)
