"""bitsandbytes: NF4 and FP4 in blocks (arXiv:2305.14314), and LLM.int8() (arXiv:2208.07339).

Layout: `QuantState.as_dict` and `Linear8bitLt` of bitsandbytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.quantized.scheme import F32, ByRows, Module, Scheme, Weight, rounded
from mother.checkpoints.tensor import Array, DType, Slice, Tensor, dtype_of, is_floating

MAX_STATE = 1 << 12
_STATES = tuple(f".weight.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))
#: 1 / 127, as bitsandbytes has it
_INT8 = np.float32(7.874015718698502e-3)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Two codes a byte, the upper one first, each an entry of `table` times its block's absmax.
    codes: of any type, as FSDP wants them of the type of other weights; their bytes count."""

    codes: Tensor
    absmax: Tensor
    table: Tensor
    nested: tuple[Tensor, Tensor, int, float] | None
    block: int
    size: int
    dtype: DType

    @property
    def width(self) -> int:
        return self.block

    def decode(self, low: int, high: int) -> Array:
        start, stop = low * self.block // 2, -(-high * self.block // 2)
        first, last = self._places(start, stop)
        held = self.codes.read(first, last).view(np.uint8)
        packed = held[start - first * self.codes.dtype.itemsize :][: stop - start]
        codes = np.stack([packed >> 4, packed & np.uint8(15)], axis=-1).reshape(-1)
        codes = codes[: self.size - low * self.block]
        scales = np.repeat(self._scales(low, high), self.block)[: len(codes)]
        with np.errstate(over="ignore", invalid="ignore"):
            return rounded(self.table.read()[codes] * scales, self.dtype)

    def _places(self, start: int, stop: int) -> tuple[int, int]:
        """Which elements hold a stretch of bytes."""
        each = self.codes.dtype.itemsize
        return start // each, -(-stop // each)

    def _scales(self, low: int, high: int) -> Array:
        stored = self.absmax.read(low, high)
        if self.nested is None:
            return stored
        absmax, table, block, offset = self.nested
        first = low // block
        scales = absmax.read(first, -(-high // block))[np.arange(low, high) // block - first]
        with np.errstate(over="ignore", invalid="ignore"):
            return table.read()[stored] * scales + np.float32(offset)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        places = self._places(low * self.block // 2, -(-high * self.block // 2))
        yield from self.codes.slices(*places)
        yield from self.absmax.slices(low, high)
        yield from self.table.slices()
        if self.nested is not None:
            absmax, table, block, _ = self.nested
            yield from absmax.slices(low // block, -(-high // block))
            yield from table.slices()


def _state(module: Module) -> dict[str, object]:
    kept = next((module[part] for part in _STATES if part in module.parts), None)
    if kept is None or kept.dtype != np.uint8 or kept.size > MAX_STATE:
        raise ValueError("bitsandbytes' quant_state is missing or too long")
    try:
        state = json.loads(kept.read().tobytes())
    except ValueError:
        raise ValueError("bitsandbytes' quant_state is not JSON") from None
    if not isinstance(state, dict):
        raise ValueError("bitsandbytes' quant_state is no JSON object")
    return state


def _count(state: dict[str, object], name: str) -> int:
    value = state.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1 << 16:
        raise ValueError(f"bitsandbytes' quant_state has no sensible {name}")
    return value


def _shape(state: dict[str, object]) -> tuple[int, ...]:
    shape = state.get("shape")
    if isinstance(shape, list) and 0 < len(shape) <= 8:
        sizes = tuple(n for n in shape if isinstance(n, int) and 0 < n < 1 << 40)
        if len(sizes) == len(shape):
            return sizes
    raise ValueError("bitsandbytes' quant_state has no shape")


def _table(module: Module, ending: str, entries: int) -> Tensor:
    table = module.get(ending)
    if table is None or table.dtype != F32 or table.shape != (entries,):
        raise ValueError(f"{ending} is no table of {entries}")
    return table


def _four_bits(module: Module) -> Weight:
    state = _state(module)
    shape, block = _shape(state), _count(state, "blocksize")
    size = int(np.prod(np.array(shape, dtype=object)))
    blocks = -(-size // block)
    codes, absmax = module[".weight"], module[".weight.absmax"]
    if codes.dtype.itemsize * codes.size != -(-size // 2) or block % 2:
        raise ValueError(f"weight of {codes.size} elements does not hold {list(shape)} codes")
    if absmax.size != blocks:
        raise ValueError(f"absmax is of {absmax.size} blocks, not {blocks}")
    told = state.get("dtype")
    dtype = dtype_of(told) if isinstance(told, str) else None
    if dtype is None or not is_floating(dtype):
        raise ValueError("bitsandbytes' quant_state has no dtype")
    nested = None
    if module.get(".weight.nested_absmax") is not None:
        outer, many = module[".weight.nested_absmax"], _count(state, "nested_blocksize")
        offset = state.get("nested_offset")
        if outer.dtype != F32 or outer.size != -(-blocks // many) or absmax.dtype != np.uint8:
            raise ValueError("nested_absmax does not fit absmax")
        if not isinstance(offset, int | float):
            raise ValueError("bitsandbytes' quant_state has no nested_offset")
        table = _table(module, ".weight.nested_quant_map", 256)
        nested = outer, table, many, float(offset)
    elif absmax.dtype != F32:
        raise ValueError(f"absmax is of {absmax.dtype}")
    table = _table(module, ".weight.quant_map", 16)
    source = _Blocks(codes, absmax, table, nested, block, size, dtype)
    kind = "NF4" if _STATES[0] in module.parts else "FP4"
    return Weight(source, dtype, shape, f"{kind}{' double-quantized' if nested else ''}")


def _eight_bits(module: Module) -> Weight:
    rows, width = module.matrix(".weight")
    scales = module.expect(".SCB", rows)
    if module[".weight"].dtype != np.int8 or scales.dtype != F32:
        raise ValueError("weight and SCB are not int8 and float32")
    form = module.get(".weight_format")
    if form is not None and form.size == 1 and form.read()[0] != 0:
        raise ValueError("int8 weights in a GPU's order of tiles are not read")

    def decode(codes: Array, scale: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(codes.astype(np.float32) * scale * _INT8)

    parts = (module[".weight"], 1), (scales, 1)
    return Weight(ByRows(width, parts, decode), F32, (rows, width), "LLM.int8")


_METHOD = frozenset({"bitsandbytes"})
_NESTED = (".weight.nested_absmax", ".weight.nested_quant_map", *_STATES)
FOUR = Scheme(_METHOD, (".weight", ".weight.absmax", ".weight.quant_map"), _NESTED, _four_bits)
EIGHT = Scheme(_METHOD, (".weight", ".SCB"), (".weight_format",), _eight_bits)
