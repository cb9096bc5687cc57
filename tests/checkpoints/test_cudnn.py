"""cuDNN's recurrent layers in Keras's layout: against the way in which Keras itself turns them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mother.checkpoints.cudnn import in_keras_layout
from mother.checkpoints.tensor import constant


def from_keras(own: list[np.ndarray], gates: int) -> list[np.ndarray]:
    """A layer of Keras's as cuDNN has it: each gate's kernel's elements in the order of columns."""
    kernel, recurrent, bias = own

    def of_columns(part: np.ndarray) -> np.ndarray:
        return part.ravel(order="F").reshape(part.shape)

    return [
        np.hstack([of_columns(part) for part in np.hsplit(kernel, gates)]),
        np.hstack([part.T for part in np.hsplit(recurrent, gates)]),
        bias.ravel(),
    ]


def stored(layer: list[np.ndarray]) -> dict[str, object]:
    names = ("r/kernel:0", "r/recurrent_kernel:0", "r/bias:0")
    return {n: constant(n, x) for n, x in zip(names, layer, strict=True)}


@given(st.sampled_from([3, 4]), st.integers(1, 5), st.integers(2, 4), st.integers(0, 99))
def test_a_layer_of_keras_comes_back(gates: int, inputs: int, units: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    sizes = (inputs, gates * units), (units, gates * units), (2, gates * units)
    kernel, recurrent, bias = (draws.standard_normal(s).astype(np.float32) for s in sizes)
    seen, layers = in_keras_layout(stored(from_keras([kernel, recurrent, bias], gates)))
    assert layers == ["r"]
    expected = [kernel, recurrent, bias.sum(0) if gates == 4 else bias]
    for tensor, own in zip(seen.values(), expected, strict=True):
        assert tensor.shape == own.shape
        np.testing.assert_array_equal(tensor.read(), own.ravel())
        middle = own.size // 2
        np.testing.assert_array_equal(tensor.read(1, middle + 1), own.ravel()[1 : middle + 1])


@pytest.mark.parametrize("bias", [(8,), (2, 8), (24,)])
def test_keras_own_layers_stay(bias: tuple[int, ...]) -> None:
    sizes = (3, 8), (2, 8), bias
    own = stored([np.ones(size, np.float32) for size in sizes])
    assert in_keras_layout(own) == (own, [])
