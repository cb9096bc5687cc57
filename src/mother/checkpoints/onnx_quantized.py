"""Quantized weights of ONNX graphs, as numbers: (code - zero point) * scale.

Three ways to store them: DequantizeLinear over an initializer, with one scale, one for each place
along an axis, or one for each block of an axis; integers that an integer operation takes, told by
their names ("w_quantized", "w_scale", "w_zero_point"); and MatMulNBits, rows of packed blocks.
Operators: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mother.checkpoints.affine import Nibbles, affine, nibbles
from mother.checkpoints.tensor import Array, Slice, Tensor
from mother.checkpoints.views import permuted

if TYPE_CHECKING:
    from mother.checkpoints.onnx_files import Graph, Node


def dequantized(graph: Graph) -> tuple[dict[str, Tensor], str]:
    """The graph's tensors with quantized weights as numbers, and how most of them are quantized.

    Raises ValueError, one line, where codes, scales and zero points do not fit together.
    """
    codes = graph.tensors | {n: nibbles(n, *held) for n, held in graph.packed.items()}
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    schemes = Counter[str]()
    for node in graph.nodes:
        if node.kind == "MatMulNBits":
            made, names, scheme = _of_blocks(node, codes)
        elif node.kind == "DequantizeLinear":
            made, names, scheme = _of_node(node, codes)
        else:
            continue
        if made is not None and made.name not in found:
            found[made.name] = made
            schemes[scheme] += made.size
            used |= names
    for name in codes:
        stem = name.removesuffix("_quantized")
        if stem != name and name not in used and f"{stem}_scale" in codes:
            zero = f"{stem}_zero_point" if f"{stem}_zero_point" in codes else ""
            made = _affine(stem, codes, name, f"{stem}_scale", zero, -1, 0)
            made = _unturned(made)
            found[made.name] = made
            schemes["ONNX int8"] += made.size
            used |= {name, f"{stem}_scale", zero}
    left = {name: tensor for name, tensor in codes.items() if name not in used}
    return left | found, max(schemes, key=lambda each: schemes[each], default="")


def _unturned(tensor: Tensor) -> Tensor:
    """onnxruntime turns the weights of a Gemm before it quantizes them, and says so in the name."""
    stem = tensor.name.removesuffix("_Transposed")
    if stem == tensor.name or len(tensor.shape) != 2:
        return tensor
    return permuted(tensor, (1, 0), stem)


def _of_node(node: Node, codes: dict[str, Tensor]) -> tuple[Tensor | None, set[str], str]:
    stored, scale, zero = [*node.inputs, "", "", ""][:3]
    if stored not in codes or scale not in codes or codes[stored].is_weight:
        return None, set(), ""
    name = stored
    for end in ("_quantized", "_QuantizeLinear_Input", "_q", "_DequantizeLinear_Input"):
        name = name.removesuffix(end)
    axis, block = node.numbers.get("axis", 1), node.numbers.get("block_size", 0)
    made = _affine(name, codes, stored, scale, zero if zero in codes else "", axis, block)
    bits = 4 if isinstance(codes[stored].source, Nibbles) else 8 * codes[stored].dtype.itemsize
    scheme = f"ONNX int{bits}" + (f" g{block}" if block else "")
    return made, {stored, scale, zero}, scheme


def _affine(
    name: str, codes: dict[str, Tensor], stored: str, scale: str, zero: str, axis: int, block: int
) -> Tensor:
    """axis: -1 for the last one that has as many places as there are scales."""
    tensor, scales = codes[stored], codes[scale]
    shape = tensor.shape
    if axis < 0 and not block and scales.size in shape:
        axis = len(shape) - 1 - shape[::-1].index(scales.size)
    axis = axis % len(shape) if shape else 0
    if scales.size == 1:
        steps = shape
    elif block:
        steps = tuple(block if k == axis else 1 for k in range(len(shape)))
    else:
        steps = tuple(1 if k == axis else side for k, side in enumerate(shape))
    try:
        return affine(name, tensor, scales, codes[zero] if zero else None, steps)
    except ValueError as error:
        raise ValueError(f"tensor {stored[:200]!r} {error}") from None


def _of_blocks(node: Node, codes: dict[str, Tensor]) -> tuple[Tensor | None, set[str], str]:
    """The weight (N, K) of a MatMulNBits."""
    _, stored, scale, zero = [*node.inputs, "", "", "", ""][:4]
    if stored not in codes or scale not in codes:
        return None, set(), ""
    columns, rows, block = (node.numbers.get(key, 0) for key in ("K", "N", "block_size"))
    bits = node.numbers.get("bits", 4)
    if min(columns, rows) < 1 or block < 16 or bits not in (2, 4, 8):
        raise ValueError(f"node {node.name[:200]!r} has {rows} rows of {columns}, {bits} bits")
    blocks = -(-columns // block)
    if codes[stored].nbytes != rows * blocks * block * bits // 8 or codes[stored].dtype != np.uint8:
        raise ValueError(f"node {node.name[:200]!r} has {codes[stored].nbytes} bytes of codes")
    if codes[scale].size != rows * blocks or not codes[scale].is_weight:
        raise ValueError(f"node {node.name[:200]!r} has {codes[scale].size} scales")
    zeros = codes.get(zero)
    if zeros is not None and zeros.dtype == np.uint8:
        if zeros.size != rows * -(-blocks * bits // 8):
            raise ValueError(f"node {node.name[:200]!r} has {zeros.size} bytes of zero points")
    elif zeros is not None and zeros.size != rows * blocks:
        raise ValueError(f"node {node.name[:200]!r} has {zeros.size} zero points")
    name = stored
    for end in (f"_Q{bits}", f"_{bits}b", "_quant", "_quantized", f"_B_{bits}bits", "_quantized_B"):
        name = name.removesuffix(end)
    path = node.name.strip("/").removesuffix(f"_Q{bits}").removesuffix("/MatMul").replace("/", ".")
    if node.name.startswith("/") and not name.endswith(".weight"):
        name = f"{path}.weight"
    source = _Blocks(codes[stored], codes[scale], zeros, columns, block, bits)
    scheme = f"ONNX int{bits} g{block}"
    made = Tensor(name, codes[scale].dtype, (rows, columns), source, scheme=scheme)
    return made, {stored, scale, zero}, scheme


def _split(data: Array, bits: int) -> Array:
    """Codes of 2, 4 or 8 bits out of bytes, the first in the lowest bits: (..., n * 8 / bits)."""
    if bits == 8:
        return data
    parts = [(data >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*data.shape[:-1], -1)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Rows of blocks of packed codes, with a scale and a zero point each."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor | None
    columns: int
    block: int
    bits: int

    def read(self, start: int, stop: int) -> Array:
        low, high = start // self.columns, -(-stop // self.columns)
        blocks = -(-self.columns // self.block)
        stride = blocks * self.block * self.bits // 8
        data = self.codes.read(low * stride, high * stride).reshape(high - low, blocks, -1)
        codes = _split(data, self.bits).astype(np.float32)
        scales = self.scales.read(low * blocks, high * blocks).reshape(high - low, blocks, 1)
        with np.errstate(all="ignore"):  # a scale may be anything
            values = (codes - self._zeros(low, high, blocks)) * scales.astype(np.float32)
        flat = values.reshape(high - low, -1)[:, : self.columns].reshape(-1)
        return flat[start - low * self.columns : stop - low * self.columns].astype(
            self.scales.dtype
        )

    def _zeros(self, low: int, high: int, blocks: int) -> Array:
        if self.zeros is None:
            return np.full((1, 1, 1), 1 << self.bits - 1, np.float32)
        each = self.zeros.size * (high - low) // max(self.scales.size // blocks, 1)
        width = each // (high - low)
        data = self.zeros.read(low * width, high * width).reshape(high - low, width)
        if self.zeros.dtype == np.uint8:
            data = _split(data, self.bits)[:, :blocks]
        return data.astype(np.float32).reshape(high - low, blocks, 1)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        low, high = start // self.columns, -(-stop // self.columns)
        blocks = -(-self.columns // self.block)
        stride = blocks * self.block * self.bits // 8
        yield from self.codes.slices(low * stride, high * stride)
        yield from self.scales.slices(low * blocks, high * blocks)
        if self.zeros is not None:
            yield from self.zeros.slices()
