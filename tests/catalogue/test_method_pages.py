"""docs/methods: what `make docs` makes, and nothing else."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from tiebreak.catalogue import LENGTHS, STEPS, curve, draw, entry, pages
from tiebreak.cli import main
from tiebreak.methods import METHODS

FOLDER = Path(__file__).parents[2] / "docs" / "methods"
PAGES = pages()


def test_there_is_one_page_and_one_plot_of_each_method() -> None:
    """Run `make docs` when this fails."""
    wanted = {"README.md", *(f"{name}{end}" for name in METHODS for end in (".md", ".svg"))}
    assert set(PAGES) == {name for name in wanted if name.endswith(".md")}
    assert {path.name for path in FOLDER.iterdir()} == wanted


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes_now(name: str) -> None:
    """Run `make docs` when this fails."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]


@pytest.mark.parametrize("name", METHODS)
def test_a_page_has_every_part(name: str) -> None:
    text, one = PAGES[f"{name}.md"], entry(name)
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads == ["Hyper-parameters", "Use", "What it fixes", "What to watch", "How it fails",
                     "Loss and gradient"]  # fmt: skip
    for part in (f"# {name}\n", "```\n", "**Paper:** ", "**Official code:** ", "**Convention:** ",
                 "**Training:** ", f"tiebreak run method={name}\n", f"({name}.svg)"):  # fmt: skip
        assert part in text, part
    for key, value in one["hyperparameters"].items():
        assert f"| `{key}` | `{value['default']}` |" in text
    assert all(need in text for need in one["needs"])


@pytest.mark.parametrize("name", METHODS)
def test_a_plot_is_there_and_small(name: str) -> None:
    size = (FOLDER / f"{name}.svg").stat().st_size
    assert 1_000 < size < 60_000


def test_the_curve_of_dpo_is_its_loss() -> None:
    """ln 2 and a slope of beta / 2 at margin 0; the same slopes, mirrored, for the rejected."""
    found = curve(METHODS["dpo"]())
    assert found["margins"][0] == -20.0 and found["margins"][STEPS // 2] == 0.0
    assert found["loss"][STEPS // 2] == pytest.approx(math.log(2))
    # Each token's slope is that of the sum, so the mean over tokens is the slope per nat.
    assert found["chosen"][STEPS // 2] == pytest.approx(-0.05)
    assert found["rejected"] == pytest.approx([-slope for slope in found["chosen"]])


def test_a_mean_log_prob_has_the_slope_of_one_nat_over_its_length() -> None:
    found = curve(METHODS["sft"]())
    assert found["chosen"] == pytest.approx([-1 / LENGTHS[0]] * (STEPS + 1))
    assert found["rejected"] == [0.0] * (STEPS + 1), "SFT does not see it"


def test_the_same_curve_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw("kto", METHODS["kto"](), tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "margin h (nats)" in text and "(per nat)" in text
    assert not re.search(r"<dc:date|20\d\d-\d\d-\d\d|atplotlib v", text)


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        main(["methods", "--docs", str(tmp_path / "file")])
    assert stop.value.code == 2
    said = f"tiebreak: --docs {tmp_path}/file: File exists; give a folder to write\n"
    assert capsys.readouterr().err == said
