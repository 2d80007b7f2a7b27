from __future__ import annotations

import numpy as np
import pytest

from tiebreak_analysis.displacement import position_profile


def test_profile_is_aligned_to_the_difference():
    logp = [np.array([-1.0, -2, -3]), np.array([-5.0, -6, -7, -8])]
    frame = position_profile(logp, [1, 2], before=2, after=2)
    assert frame["position"].tolist() == [-2, -1, 0, 1]
    assert frame["mean"].tolist() == [-5.0, -3.5, -4.5, -5.5]
    assert frame["n"].tolist() == [1, 2, 2, 2]
    assert frame["low"].isna().tolist() == [True, False, False, False]


def test_profile_leaves_out_pairs_without_a_difference():
    assert position_profile([np.array([-1.0])], [None]).empty
    with pytest.raises(ValueError):
        position_profile([np.array([-1.0])], [])
