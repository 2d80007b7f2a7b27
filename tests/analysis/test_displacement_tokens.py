from __future__ import annotations

import numpy as np
import pytest

from tiebreak_analysis.displacement import after_difference, position_profile


def test_after_the_difference_one_value_per_response():
    """(-2, -4) after position 1, mean -3; (-1) after position 0; the third has nothing after it,
    the fourth no difference. The long response weighs no more: (-3 - 1) / 2."""
    logp = [np.array([-9.0, -9, -2, -4]), np.array([-7.0, -1]), np.array([-5.0]), np.array([-8.0])]
    found = after_difference(logp, [1, 0, 0, None])
    assert found is not None and (found.mean, found.n) == (-2.0, 2)
    assert after_difference([np.array([-5.0])], [0]) is None


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
