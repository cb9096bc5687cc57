"""Rows of any length, as experts that are stacked in one tensor make them, are read in part."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import Tensor, constant
from mother.copies.folded import _alike
from mother.copies.mapped import some_rows as mapped_rows
from mother.copies.mapped import turns
from mother.copies.quantized import find_quantized
from mother.layouts import align
from mother.measures.formats import rounding_noise
from mother.measures.shapes import WIDEST, as_matrix
from mother.sketches.sketch import sampled
from mother.sketches.windows import windows

MOST = 1 << 20  # elements that one read may ask for


class Endless:
    """A source of more elements than there is memory for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def read(self, start, stop):
        assert stop - start <= MOST
        rng = np.random.default_rng((self.seed, start))
        return rng.standard_normal(stop - start, np.float32)

    def slices(self, start, stop):
        return iter(())


def wide(seed: int) -> Tensor:
    return Tensor("h.0.w", np.dtype(np.float32), (4, 1 << 31), Endless(seed))


def test_what_looks_at_rows_looks_at_parts_of_wide_ones():
    one, other = (wide(seed) for seed in range(2))
    models = [Checkpoint(t, Path(t), "npz", {"h.0.w": wide(k)}) for k, t in enumerate("ab")]
    assert find_quantized(align(models)[0], []) == []
    assert not _alike((one, other))
    assert turns(mapped_rows(one), mapped_rows(other))[0] > 100
    assert rounding_noise(one) == 0


@pytest.mark.parametrize("apart", [1, 1 << 30])
@given(st.integers(2, 6), st.integers(WIDEST + 1, 3 * WIDEST), st.integers(0, 9))
@settings(max_examples=6, deadline=None)
def test_a_window_of_a_wide_matrix_holds_the_weights_at_its_places(apart, height, width, seed):
    weights = np.random.default_rng(seed).standard_normal((height, width), np.float32)
    tensor = constant("w", weights)
    window = windows({"w": tensor}, 1 << 14, seed=seed, matrices=None, apart=apart)["w"]
    held = sampled(tensor, window).kept
    expected = weights.reshape(as_matrix(tensor.shape))[np.ix_(*window.places(tensor.shape))]
    np.testing.assert_array_equal(held.read().reshape(held.shape), expected)
