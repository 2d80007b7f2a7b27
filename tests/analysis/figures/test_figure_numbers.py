"""What is drawn is what was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_frames import categories, history, pairs, settings
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tiebreak.errors import UserError
from tiebreak_analysis.displacement import panel, tidy
from tiebreak_analysis.figures.categories import displaced, dots, radar
from tiebreak_analysis.figures.curves import curves, data_size, token_profile
from tiebreak_analysis.figures.frontier import accuracy, frontier
from tiebreak_analysis.figures.palette import look
from tiebreak_analysis.statistics import Interval, mean_interval


def line(figure: Figure, method: str, at: int = 0) -> Line2D:
    """The line or the marks of a method, by its colour and marker."""
    wanted = look(method)
    (found,) = [
        line for line in figure.axes[at].lines
        if line.get_color() == wanted.colour and line.get_marker() == wanted.marker
    ]  # fmt: skip
    return found


def bars(axes: Axes) -> list[np.ndarray]:
    """Ends of all error bars: arrays (2, 2) of points."""
    found = [c for c in axes.collections if isinstance(c, LineCollection)]
    return [segment for collection in found for segment in collection.get_segments()]


def runs(values: dict[str, list[float]], **columns: object) -> pd.DataFrame:
    rows = [{"method": m, "run_id": f"{m}{at}", "value": v, **columns}
            for m, all_of in values.items() for at, v in enumerate(all_of)]  # fmt: skip
    return pd.DataFrame(rows)


def test_curves_are_means_over_blocks_then_runs():
    frame = history(methods=("dpo",), num_runs=3, num_steps=8)
    drawn = line(curves(frame, ["loss"], block=4), "dpo")
    assert list(drawn.get_xdata()) == [2.5, 6.5]
    first = frame[frame["step"] <= 4].groupby("run_id")["loss"].mean()
    assert drawn.get_ydata()[0] == pytest.approx(first.mean())
    figure = curves(frame, ["loss"], block=4)
    (band,) = figure.axes[0].collections
    heights = {round(float(y), 9) for x, y in band.get_paths()[0].vertices if x == 2.5}
    found = mean_interval(list(first))
    assert found.low is not None and found.high is not None
    assert {round(found.low, 9), round(found.high, 9)} <= heights


def test_two_runs_have_thin_lines_and_no_band():
    figure = curves(history(methods=("dpo",), num_runs=2, num_steps=8), ["loss"])
    axes = figure.axes[0]
    assert len(axes.collections) == 0 and len(axes.lines) == 3


def test_a_curve_ends_where_the_first_run_ends():
    frame = history(methods=("dpo",), num_runs=3, num_steps=8)
    cut = frame[(frame["run_id"] != "dpo-1") | (frame["step"] <= 5)]
    assert list(line(curves(cut, ["loss"]), "dpo").get_xdata()) == [1, 2, 3, 4, 5]


def test_a_method_without_the_metric_is_not_drawn():
    frame = history(methods=("dpo", "simpo"), num_runs=1, num_steps=4)
    frame.loc[frame["method"] == "simpo", "drift/chosen"] = np.nan
    figure = curves(frame, ["drift/chosen", "loss"])
    assert len([one for one in figure.axes[0].lines if one.get_marker() != "None"]) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dpo", "simpo"]


def test_the_frontier_has_intervals_on_both_axes():
    frame = settings(methods=("dpo",))
    figure = frontier(frame)
    at = frame[frame["beta"] == 0.02]
    x, y = (mean_interval(list(at[name])) for name in ("kl/reference", "gold/reward"))
    drawn = line(figure, "dpo")
    assert (drawn.get_xdata()[0], drawn.get_ydata()[0]) == pytest.approx((x.mean, y.mean))
    ends = np.array(bars(figure.axes[0]))
    assert len(ends) == 10
    assert any(np.allclose(e, [[x.low, y.mean], [x.high, y.mean]]) for e in ends)
    assert any(np.allclose(e, [[x.mean, y.low], [x.mean, y.high]]) for e in ends)
    assert [t.get_text() for t in figure.axes[0].texts] == ["0.02", "1"]


def test_sizes_stand_on_a_log_axis_at_their_place():
    frame = pd.concat([runs({"dpo": [0.1, 0.2, 0.6]}, rows=n) for n in (100, 1000, 10000)])
    figure = data_size(frame, "value", start=Interval(0.05, None, None, 1))
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["100", "1,000", "10,000"]
    drawn = line(figure, "dpo")
    assert list(drawn.get_xdata()) == [100, 1000, 10000]
    assert list(drawn.get_ydata()) == pytest.approx([0.3] * 3)
    found = mean_interval([0.1, 0.2, 0.6])
    assert np.allclose(bars(axes)[0][:, 1], [found.low, found.high])


def test_two_runs_have_no_error_bar():
    figure = data_size(runs({"dpo": [0.1, 0.2]}, rows=100), "value")
    assert all(np.ptp(segment) == 0 for segment in (bar[:, 1] for bar in bars(figure.axes[0])))
    title = figure.legends[0].get_title().get_text()
    assert title == "mean of 2 runs; too few for intervals"


def test_dots_stand_in_the_row_of_their_category():
    frame = pd.concat([runs({"dpo": [1.0, 2.0]}, category="a"), runs({"dpo": [5.0]}, category="b")])
    figure = dots(frame)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]
    drawn = line(figure, "dpo")
    assert list(drawn.get_xdata()) == [1.5, 5.0] and list(drawn.get_ydata()) == [0.0, 1.0]


def test_a_radar_begins_at_zero_and_closes():
    figure = radar(categories())
    axes = figure.axes[0]
    assert axes.get_ylim()[0] == 0
    radii = line(figure, "dpo").get_ydata()
    assert len(radii) == 9 and radii[0] == radii[-1]


def test_a_radar_refuses_what_it_would_bend():
    frame = categories(methods=("dpo", "ipo"), num_runs=1)
    with pytest.raises(UserError, match="ipo has no value for math"):
        radar(frame[(frame["method"] != "ipo") | (frame["category"] != "math")])
    with pytest.raises(UserError, match="three or more categories"):
        radar(frame[frame["category"].isin(["math", "stem"])])
    with pytest.raises(UserError, match="dpo is -1 for"):
        radar(frame.assign(value=-1.0))


def test_displacement_is_drawn_from_zero_and_says_where_nothing_is():
    buckets = tidy([panel(pairs("a" * 12, 0.1, num_pairs=90), label="dpo")])
    figure = displaced(buckets)
    axes = figure.axes[0]
    assert [patch.get_y() for patch in axes.patches] == [0] * 4
    assert axes.get_ylim()[0] < 0 < 1 < axes.get_ylim()[1] < 1.1, "all of the share, always"
    assert [text.get_text() for text in axes.texts] == ["no pairs"]
    shown = buckets[(buckets["by"] == "edit_distance") & (buckets["measure"] == "displaced")]
    known = shown.dropna(subset=["mean"])
    assert [patch.get_height() for patch in axes.patches] == pytest.approx(list(known["mean"]))
    counts = [t.get_text().split("\n")[1] for t in axes.get_xticklabels()]
    assert counts == [str(n) for n in shown["num_chosen"]]
    assert np.allclose([bar[:, 1] for bar in bars(axes)], known[["low", "high"]])


def test_a_profile_marks_the_first_difference():
    rows = pd.concat([runs({"dpo": [-1.0, -2.0]}, position=p) for p in (-1, 0, 1)])
    figure = token_profile(rows.rename(columns={"value": "mean"}))
    drawn = line(figure, "dpo")
    assert list(drawn.get_xdata()) == [-1, 0, 1] and list(drawn.get_ydata()) == [-1.5] * 3
    assert any(list(one.get_xdata()) == [0, 0] for one in figure.axes[0].lines)


def test_accuracies_share_one_scale():
    frame = pd.DataFrame({"method": ["dpo", "ipo"], "accuracy/drift": [0.6, 0.9],
                          "accuracy/likelihood": [0.5, 0.7]})  # fmt: skip
    axes = accuracy(frame).axes[0]
    assert axes.get_xlim() == axes.get_ylim() and axes.get_aspect() == 1
    assert axes.get_xlim()[0] < 0.5 and axes.get_xlim()[1] > 0.9


def test_a_missing_column_and_an_empty_frame_are_named():
    with pytest.raises(UserError, match="no column kl/reference to draw; there are: method, beta"):
        frontier(settings()[["method", "beta", "gold/reward"]])
    with pytest.raises(UserError, match="nothing to draw: no run has rows, value"):
        data_size(runs({"dpo": [1.0]}, rows=1).head(0), "value")
