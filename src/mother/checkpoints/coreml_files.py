"""Core ML's packages (.mlpackage) and compiled models (.mlmodelc): folders of a program, which is
not run, and a file of weights. Those that are compressed by one scale or one table for all of a
weight, or by a scale a row, are decoded.

Format: https://github.com/apple/coremltools/blob/main/mlmodel/src/MILBlob/Blob/StorageFormat.hpp
and, of compressed ones, https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mother.checkpoints.affine import affine
from mother.checkpoints.coreml_program import Operation, Stored, in_text, operations
from mother.checkpoints.laid_out import Window, lay_out
from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Array, Checkpoint, Slice, Tensor, dtype_of, scheme_of
from mother.checkpoints.work import TENSOR

MANIFEST, HOME = "Manifest.json", "Data/com.apple.CoreML"
TEXT, COMPILED = "model.mil", "coremldata.bin"
_ROOT = "@model_path/"
_SENTINEL, _HEADER = 0xDEADBEEF, 24
_NAMES = {"fp16": "float16", "fp32": "float32", "fp64": "float64", "bf16": "bfloat16"}
#: bits of codes that share bytes, lowest first
_PACKED = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}
_OLD = "Core ML of before programs; export the model again, as safetensors or ONNX"


def is_package(names: list[str]) -> bool:
    """Whether a folder with these names is a package.

    >>> is_package(["Data", "Manifest.json"])
    True
    """
    return MANIFEST in names and "Data" in names


def is_compiled(names: list[str]) -> bool:
    """Whether a folder with these names is a compiled model.

    >>> is_compiled(["coremldata.bin", "metadata.json", "model.mil", "weights"])
    True
    """
    return TEXT in names and COMPILED in names


def read_package(folder: Path) -> Checkpoint:
    """The checkpoint in a .mlpackage; reads its program. Raises InputError."""
    home = folder / HOME
    try:
        models = sorted(e.name for e in os.scandir(home) if e.name.endswith(".mlmodel"))
    except OSError:
        models = []
    if len(models) != 1:
        raise refusal(folder, f"a Core ML package with {len(models)} models in {HOME}")
    model = File(home / models[0])
    return _read(folder, model, operations(model))


def read_compiled(folder: Path) -> Checkpoint:
    """The checkpoint in a .mlmodelc; reads its text. Raises InputError."""
    text = File(folder / TEXT)
    return _read(folder, text, in_text(text))


def _read(folder: Path, model: File, program: Iterable[Operation]) -> Checkpoint:
    files: dict[str, File] = {}
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    unread: dict[str, int] = {}
    try:
        for each in program:
            model.work.spend(TENSOR + len(each.name))
            if each.name in tensors or each.name in unread:
                raise ValueError(f"makes {each.name[:200]!r} twice")
            spans = {key: _window(model, files, of) for key, of in each.takes.items()}
            tensor = _OPERATIONS[each.type](each, spans) if each.type in _OPERATIONS else None
            if tensor is None:
                notes.append(f"skipped {each.name!r}: {each.type[:80]} is not read in this form")
                unread[each.name] = math.prod(each.shape)
            else:
                tensors[each.name] = replace(tensor, name=each.name)
    except ValueError as error:
        raise model.fault(f"Core ML program {error}") from None
    if not tensors:
        raise refusal(folder, "; ".join([_OLD if not notes else "holds no tensors", *notes[:1]]))
    held, told, scheme = (model, *files.values()), tuple(notes), scheme_of(tensors.values())
    found = Checkpoint(folder.name, folder, "coreml", tensors, notes=told, files=held)
    return replace(found, unread=unread, scheme=scheme)


def _window(model: File, files: dict[str, File], of: Stored) -> Window:
    """The bytes of what a file of weights holds at a place, where an entry stands before them."""
    inside = of.file.removeprefix(_ROOT)
    parts = inside.split("/")
    if inside == of.file or any(p in ("", ".", "..") for p in parts) or set(inside) & set("\\\0:"):
        raise ValueError(f"names a file outside its folder: {of.file[:200]!r}")
    if inside not in files:
        files[inside] = File(model.path.parent / inside)
    file = files[inside]
    if of.offset + _HEADER > file.size:
        raise file.fault(f"truncated: byte {of.offset + _HEADER} is needed, it has {file.size}")
    head = file.read(of.offset, _HEADER)
    nbytes, start = (int.from_bytes(head[k : k + 8], "little") for k in (8, 16))
    if int.from_bytes(head[:4], "little") != _SENTINEL or start + nbytes > file.size:
        raise file.fault(f"holds no values at byte {of.offset}, or is truncated")
    return Window(file, start, nbytes)


def _values(of: Stored, span: Window) -> Tensor | None:
    """Numbers as they are stored, or codes of some bits; None of other kinds."""
    if of.kind in _PACKED:
        return _codes(of.shape, span, _PACKED[of.kind], of.kind.startswith("i"))
    dtype = dtype_of(_NAMES.get(of.kind, of.kind)) if of.kind else None
    if dtype is None or dtype.kind not in "iufV" or not dtype.itemsize:
        return None
    return lay_out("", span, dtype, of.shape)


def _const(of: Operation, spans: dict[str, Window]) -> Tensor | None:
    return _values(of.takes["val"], spans["val"]) if "val" in spans else None


def _codes(shape: tuple[int, ...], span: Window, bits: int, signed: bool = False) -> Tensor:
    size = math.prod(shape)
    if span.nbytes < -(-size * bits // 8):
        raise ValueError(f"needs {-(-size * bits // 8)} bytes for codes, has {span.nbytes}")
    dtype = np.dtype(np.int8 if signed else np.uint8)
    return Tensor("", dtype, shape, _Codes(span, bits, signed))


@dataclass(frozen=True, eq=False)
class _Codes:
    """Whole numbers of a few bits, one behind the other, lowest bits first."""

    span: Window
    bits: int
    signed: bool

    def read(self, start: int, stop: int) -> Array:
        low = start * self.bits // 8
        data = self.span.array(low, -(-stop * self.bits // 8))
        first = start * self.bits - 8 * low
        bits = np.unpackbits(data, bitorder="little")[first : first + (stop - start) * self.bits]
        codes = np.packbits(bits.reshape(-1, self.bits), axis=1, bitorder="little")[:, 0]
        if not self.signed:
            return codes
        half = np.uint8(1 << self.bits - 1)
        return (codes ^ half).view(np.int8) - half.astype(np.int8)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.span.slices(start * self.bits // 8, -(-stop * self.bits // 8))


@dataclass(frozen=True, eq=False)
class _Palette:
    """Entries of a table, by codes."""

    codes: Tensor
    table: Tensor

    def read(self, start: int, stop: int) -> Array:
        values: Array = self.table.read()[self.codes.read(start, stop)]
        return values

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        yield from self.codes.slices(start, stop)
        yield from self.table.slices()


def _looked_up(of: Operation, spans: dict[str, Window]) -> Tensor | None:
    """constexpr_lut_to_dense, of one table of scalars."""
    if not {"lut", "indices"} <= spans.keys():
        return None
    table, told = _values(of.takes["lut"], spans["lut"]), of.takes["indices"]
    if table is None or not table.is_weight or table.size not in (2, 4, 8, 16, 64, 256):
        return None  # more than one, or of vectors
    bits = table.size.bit_length() - 1
    kind = "uint8" if bits == 8 else f"uint{bits}"
    packed = told.kind == "uint8" and len(told.shape) == 1 and len(of.shape) != 1
    if not packed and told.kind != kind:
        return None
    codes = _codes(of.shape, spans["indices"], bits)
    source = _Palette(codes, table)
    return Tensor("", table.dtype, of.shape, source, scheme=f"Core ML palette of {bits} bits")


def _affine(of: Operation, spans: dict[str, Window]) -> Tensor | None:
    """constexpr_affine_dequantize and, of today, constexpr_blockwise_shift_scale."""
    new = "data" in spans
    codes_at, zero_at = ("data", "offset") if new else ("quantized_data", "zero_point")
    if not {codes_at, "scale"} <= spans.keys():
        return None
    if zero_at in of.others:
        return None
    codes = _values(of.takes[codes_at], spans[codes_at])
    scale = _values(of.takes["scale"], spans["scale"])
    zero = _values(of.takes[zero_at], spans[zero_at]) if zero_at in spans else None
    if codes is None or scale is None or codes.shape != of.shape or not codes.size:
        return None
    if new and len(scale.shape) == len(codes.shape):
        steps = [
            n // m if m and n % m == 0 else 0 for n, m in zip(of.shape, scale.shape, strict=True)
        ]
    else:
        steps = [1 if axis == of.axis else n for axis, n in enumerate(of.shape)]
    if len(steps) != len(of.shape) or 0 in steps:
        return None
    bits = _PACKED.get(of.takes[codes_at].kind, 8)
    tensor = affine("", codes, scale, zero, steps, scale.dtype)
    return replace(tensor, scheme=f"Core ML int{bits}")


_OPERATIONS = {
    "const": _const,
    "constexpr_lut_to_dense": _looked_up,
    "constexpr_affine_dequantize": _affine,
    "constexpr_blockwise_shift_scale": _affine,
}
