"""Masks and positions of packed rows."""

import keras
import numpy as np
import pytest
from keras import ops

from keraslm.layers import AttentionMask, SegmentPositions, masks


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "uint8"])
def test_penalty_of_visibility(dtype):
    mask = np.array([[1, 0, 1]], dtype)
    np.testing.assert_array_equal(masks.penalty(mask), [[[[0, masks.HIDDEN, 0]]]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_penalty_of_an_added_mask(dtype):
    mask = ops.cast(np.array([[[0, -np.inf], [-2, 0.5]]], "float32"), dtype)
    penalty = masks.penalty(mask)
    assert keras.backend.standardize_dtype(penalty.dtype) == "float32"
    np.testing.assert_array_equal(penalty, [[[[0, masks.HIDDEN], [2, -0.5]]]])


@pytest.mark.parametrize(
    ("shape", "wide"),
    [((2, 3), (2, 1, 1, 3)), ((2, 4, 3), (2, 1, 4, 3)), ((2, 5, 4, 3), (2, 5, 4, 3))],
)
def test_penalty_broadcasts_to_scores(shape, wide):
    mask = np.random.default_rng(0).random(shape) < 0.5
    penalty = masks.penalty(mask)
    assert tuple(penalty.shape) == wide
    np.testing.assert_array_equal(np.asarray(penalty).reshape(shape) == 0, mask)


@pytest.mark.parametrize("shape", [(3,), (1, 1, 1, 1, 3)])
def test_penalty_of_another_rank(shape):
    with pytest.raises(ValueError, match=r"attention_mask must have the shape \(batch, key\)"):
        masks.penalty(np.ones(shape, bool))


@pytest.mark.parametrize(
    ("start", "rows"),
    [(0, [[1, 0, 0, 0], [1, 1, 0, 0]]), (2, [[1, 1, 1, 0], [1, 1, 1, 1]])],
)
def test_causal(start, rows):
    np.testing.assert_array_equal(masks.causal(2, 4, start), np.array([rows], bool))


SEGMENTS = np.array([[0, 0, 1, 1, 1], [7, 8, 8, 9, 9]], "int32")
PADDING = np.array([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0]], bool)


def test_attention_mask_of_nothing():
    assert AttentionMask()(SEGMENTS) is None


def test_attention_mask_of_padding():
    mask = AttentionMask()(SEGMENTS, padding_mask=PADDING)
    np.testing.assert_array_equal(mask, PADDING[:, None])


def test_attention_mask_takes_whole_numbers():
    mask = AttentionMask()(SEGMENTS, padding_mask=PADDING.astype("int32"))
    assert keras.backend.standardize_dtype(mask.dtype) == "bool"
    np.testing.assert_array_equal(mask, PADDING[:, None])


@pytest.mark.parametrize("padding", [None, PADDING])
def test_attention_mask_of_segments(padding):
    mask = AttentionMask()(SEGMENTS, padding_mask=padding, segment_ids=SEGMENTS)
    expected = SEGMENTS[:, :, None] == SEGMENTS[:, None]
    if padding is not None:
        expected &= padding[:, None]
    np.testing.assert_array_equal(mask, expected)


def test_positions_restart_with_each_segment():
    positions = SegmentPositions()(SEGMENTS)
    assert keras.backend.standardize_dtype(positions.dtype) == "int32"
    np.testing.assert_array_equal(positions, [[0, 1, 0, 1, 2], [0, 0, 1, 0, 1]])


def test_positions_of_nothing():
    assert SegmentPositions()(None) is None
