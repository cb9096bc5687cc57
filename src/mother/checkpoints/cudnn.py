"""Recurrent layers as NVIDIA's cuDNN lays them out, in the layout of Keras's own.

Keras stored its CuDNNLSTM and CuDNNGRU with the gates' kernels transposed and with two biases, and
loads either into the other. Which of them a layer is, the number of its biases says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mother.checkpoints.decoded import Part
from mother.checkpoints.tensor import Array, Slice, Tensor
from mother.checkpoints.views import permuted, reshaped

LSTM, GRU = 4, 3  # gates
_KERNEL, _RECURRENT, _BIAS = "kernel", "recurrent_kernel", "bias"


def in_keras_layout(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors, cuDNN's layers among them as Keras stores a layer of its own, and their names.

    >>> import numpy as np
    >>> from mother.checkpoints.tensor import constant
    >>> shapes = {"r/kernel:0": (3, 8), "r/recurrent_kernel:0": (2, 8), "r/bias:0": (16,)}
    >>> stored = {n: constant(n, np.ones(s, np.float32)) for n, s in shapes.items()}
    >>> seen, layers = in_keras_layout(stored)
    >>> layers, seen["r/bias:0"].read()
    (['r'], array([2., 2., 2., 2., 2., 2., 2., 2.], dtype=float32))
    """
    out, layers = dict(tensors), []
    for name, kernel in tensors.items():
        stem, _, last = name.rpartition("/")
        leaf, _, copy = last.partition(":")
        own = {part: f"{stem}/{part}:{copy}" for part in (_RECURRENT, _BIAS)}
        if leaf != _KERNEL or any(each not in tensors for each in own.values()):
            continue
        recurrent, bias = (tensors[each] for each in own.values())
        if not (gates := _gates(kernel.shape, recurrent.shape, bias.shape)):
            continue
        layers.append(stem)
        out[name] = _kernel(kernel, gates)
        out[own[_RECURRENT]] = _recurrent(recurrent, gates)
        out[own[_BIAS]] = _bias(bias, gates)
    return out, layers


def _gates(kernel: tuple[int, ...], recurrent: tuple[int, ...], bias: tuple[int, ...]) -> int:
    """Of a layer of cuDNN's; 0 where it is none."""
    if len(kernel) != 2 or len(recurrent) != 2 or not recurrent[0]:
        return 0
    gates, left = divmod(recurrent[1], recurrent[0])
    fits = not left and gates in (LSTM, GRU) and kernel[1] == recurrent[1]
    return gates if fits and bias == (2 * recurrent[1],) else 0


def _kernel(stored: Tensor, gates: int) -> Tensor:
    """Of each gate (inputs, units), whose elements lie as those of (units, inputs)."""
    inputs, units = stored.shape[0], stored.shape[1] // gates
    by_gate = permuted(reshaped(stored, (inputs, gates, units)), (1, 0, 2))
    turned = permuted(reshaped(by_gate, (gates, units, inputs)), (2, 0, 1))
    return reshaped(turned, stored.shape)


def _recurrent(stored: Tensor, gates: int) -> Tensor:
    units = stored.shape[0]
    return reshaped(permuted(reshaped(stored, (units, gates, units)), (2, 1, 0)), stored.shape)


def _bias(stored: Tensor, gates: int) -> Tensor:
    """Keras's LSTM has the sum of both, its GRU both, (2, gates * units)."""
    half = stored.size // 2
    if gates == GRU:
        return reshaped(stored, (2, half))
    return Tensor(stored.name, stored.dtype, (half,), _Sum(stored, half))


@dataclass(frozen=True, eq=False)
class _Sum:
    """The first half of a tensor's elements plus the second."""

    stored: Tensor
    half: int

    def read(self, start: int, stop: int) -> Array:
        one, other = (Part(self.stored, first) for first in (0, self.half))
        both: Array = one.read(start, stop) + other.read(start, stop)
        return both

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        for first in (0, self.half):
            yield from Part(self.stored, first).slices(start, stop)
