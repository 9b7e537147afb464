"""Rules that pick frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidreason.media import frame_rules as indices


@given(st.integers(1, 5000), st.integers(1, 64))
def test_uniform_is_ordered_within_the_clip_and_starts_at_the_first_frame(frames, count):
    chosen = indices.uniform_indices(frames, count)
    assert len(chosen) == count
    assert chosen[0] == 0
    assert (np.diff(chosen) >= 0).all()
    assert chosen[-1] == (frames - 1 if count > 1 else 0)


@given(st.integers(1, 500), st.integers(1, 64))
def test_unique_leaves_out_repeats_only(frames, count):
    chosen = indices.unique_indices(frames, count)
    assert len(chosen) == min(frames, count)
    assert set(chosen) == set(indices.uniform_indices(frames, count))


@given(st.integers(1, 5000), st.integers(1, 32), st.sampled_from([0, 1]))
def test_segments_without_bounds_stay_within_the_clip(last, count, first):
    chosen = indices.segment_indices(last, 25.0, count, first=first)
    assert chosen.min() >= first
    assert chosen.max() <= last


def test_segments_with_bounds_stay_between_them():
    chosen = indices.segment_indices(999, 10.0, 16, bound=(20.0, 40.0))
    assert chosen.min() >= 200
    assert chosen.max() <= 400
    assert len(set(chosen.tolist())) == 16


def test_bound_beyond_the_clip_is_left_to_the_reader():
    assert indices.segment_indices(9, 29.97, 2, bound=(3.0, 3.0)).max() > 9


@pytest.mark.parametrize(("frames", "count", "name"), [(0, 4, "frames"), (4, 0, "count")])
def test_nothing_to_pick_is_refused(frames, count, name):
    with pytest.raises(ValueError, match=name):
        indices.uniform_indices(frames, count)
