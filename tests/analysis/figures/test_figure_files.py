from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from made_frames import sizes
from matplotlib.image import imread

from tiebreak.errors import UserError
from tiebreak_analysis.figures.curves import data_size
from tiebreak_analysis.figures.style import save


@pytest.mark.parametrize("suffix", [".pdf", ".png", ".svg"])
def test_the_same_frame_gives_the_same_bytes(tmp_path: Path, suffix: str):
    """Rows in another order, and a reader's own matplotlibrc, change nothing."""
    frame = sizes(num_runs=2)
    save(data_size(frame), tmp_path / f"first{suffix}")
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.hashsalt": "other"}):
        save(data_size(frame.sample(frac=1, random_state=0)), tmp_path / f"second{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("first", "second"))
    assert first == second
    for trace in (
        b"CreationDate",
        b"Matplotlib",
        b"matplotlib.org",
        b"dc:date",
        str(tmp_path).encode(),
    ):
        assert trace not in first, trace


def test_a_png_is_as_wide_as_a_column(tmp_path: Path):
    save(data_size(sizes(num_runs=1)), tmp_path / "deep" / "figure.PNG")
    assert imread(tmp_path / "deep" / "figure.PNG").shape[1] == 990, "3.3 in at 300 dots"


def test_letters_in_a_pdf_are_letters(tmp_path: Path):
    save(data_size(sizes(num_runs=1)), tmp_path / "figure.pdf")
    assert b"/Type3" not in (tmp_path / "figure.pdf").read_bytes(), "journals refuse Type 3 fonts"


def test_an_unknown_format_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"'\.jpg' \(figure\.jpg\): use \.pdf, \.png or \.svg"):
        save(data_size(sizes(num_runs=1)), tmp_path / "figure.jpg")
    assert list(tmp_path.iterdir()) == []
