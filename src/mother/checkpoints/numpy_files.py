"""NumPy's .npy and .npz files.

The header of an .npy is the text of a Python dict. Three patterns read it, so that nothing in it
is ever evaluated. An .npy of Python objects is a pickle, from which arrays are taken as data.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from mother.checkpoints.laid_out import Span, Window, c_strides, lay_out
from mother.checkpoints.pickled_arrays import number_dtype, read_arrays
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean
from mother.checkpoints.zip_archive import Member, span

MAGIC = b"\x93NUMPY"
MAX_HEADER = 64 << 10
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*(?:['"]([^'"]{1,32})['"]|(\[))""")
_FORTRAN = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\dL,\s]{0,2000})\)\s*[,}]""")


class _OtherDtypeError(Exception):
    """An array that is none of numbers; the text says what it is."""


class _PickledError(_OtherDtypeError):
    """An array of Python objects. end: of the .npy header."""

    end = 0


@dataclass(frozen=True)
class _Header:
    length: int
    dtype: DType
    shape: tuple[int, ...]
    fortran: bool
    note: str = ""


def looks_like_npy(start: bytes) -> bool:
    """Whether a file's first bytes are those of an .npy file."""
    return start.startswith(MAGIC)


def read_npy(file: File) -> Checkpoint:
    """The checkpoint in an .npy file: one tensor, "array", or those in a pickled dict or list.

    Raises InputError.
    """
    notes: tuple[str, ...]
    try:
        tensor, notes = _open_array("array", Window(file, 0, file.size))
    except _PickledError as pickled:
        tensors, notes = read_arrays(file, pickled.end)
        return Checkpoint(file.path.stem, file.path, "npy", tensors, notes=notes)
    except _OtherDtypeError as error:
        raise file.fault(f"{error}, which are not read") from None
    except ValueError as error:
        raise file.fault(str(error)) from None
    return Checkpoint(file.path.stem, file.path, "npy", {tensor.name: tensor}, notes=notes)


def read_npz(file: File, members: Mapping[str, Member]) -> Checkpoint:
    """The checkpoint in an .npz archive; reads the arrays' headers only. Raises InputError."""
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    arrays = _arrays(file, members)
    for member in members.values():
        if member.name in arrays:
            _add(file, member, tensors, notes)
        else:
            notes.append(f"skipped {member.name!r}: no array")
    if not tensors:
        raise file.fault("; ".join(["holds no arrays of numbers", *notes[:1]]))
    return Checkpoint(file.path.stem, file.path, "npz", tensors, notes=tuple(notes))


def has_arrays(file: File, members: Mapping[str, Member]) -> bool:
    """Whether an archive holds arrays, as .npz does."""
    return bool(_arrays(file, members))


def _arrays(file: File, members: Mapping[str, Member]) -> set[str]:
    """The members that are arrays: those called .npy, as NumPy calls them, or, where none is, those
    that start as an array does. Programs in other languages leave the ending out."""
    called = {name for name in members if name.endswith(".npy")}
    return called or {name for name, member in members.items() if _starts_so(file, member)}


def _starts_so(file: File, member: Member) -> bool:
    many = min(len(MAGIC), member.size)
    return looks_like_npy(bytes(span(file, member).array(0, many)))


def _add(file: File, member: Member, tensors: dict[str, Tensor], notes: list[str]) -> None:
    name = member.name.removesuffix(".npy")
    try:
        tensors[name], more = _open_array(name, span(file, member))
    except _OtherDtypeError as error:
        notes.append(f"skipped {name!r}: {error}")
    except ValueError as error:
        raise file.fault(f"array {name!r}: {error}") from None
    else:
        notes.extend(more)


def _open_array(name: str, where: Span) -> tuple[Tensor, tuple[str, ...]]:
    """The tensor of an .npy in a span; ValueError or _OtherDtypeError where there is none."""
    header = _read_header(where)
    strides = c_strides(header.shape[::-1])[::-1] if header.fortran else None
    tensor = lay_out(name, where, header.dtype, header.shape, strides, header.length)
    return tensor, ((f"{name!r}: {header.note}",) if header.note else ())


def _read_header(where: Span) -> _Header:
    start = where.array(0, min(12, where.nbytes)).tobytes()
    if len(start) < 12 or not looks_like_npy(start):
        raise ValueError("not an .npy file, or a truncated one")
    width = 2 if start[6] == 1 else 4
    end = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    if end > min(where.nbytes, MAX_HEADER):
        raise ValueError(f".npy header claims to end at byte {end} of {where.nbytes}")
    text = where.array(8 + width, end).tobytes().decode("utf-8", "replace")
    descr, fortran, shape = _DESCR.search(text), _FORTRAN.search(text), _SHAPE.search(text)
    if not (descr and fortran and shape):
        raise ValueError("unreadable .npy header")
    try:
        dtype, note = _dtype(descr[1])
    except _PickledError as error:
        error.end = end
        raise
    return _Header(end, dtype, _shape(shape[1]), fortran[1] == "True", note)


def _shape(text: str) -> tuple[int, ...]:
    # numpy on Python 2 wrote 3L
    sizes = [part.strip().removesuffix("L") for part in text.split(",") if part.strip()]
    if any(not size.isdecimal() or len(size) > 19 for size in sizes):
        raise ValueError("unreadable shape in the .npy header")
    return tuple(map(int, sizes))


def _dtype(descr: str | None) -> tuple[DType, str]:
    if descr is None:
        raise _OtherDtypeError("holds structured records")
    if descr.lstrip("<>=|") == "V2":
        # numpy has no name for bfloat16 and stores it as two nameless bytes
        return np.dtype(ml_dtypes.bfloat16), "stored as V2, read as bfloat16"
    if descr.lstrip("<>=|").startswith("O"):
        raise _PickledError("holds pickled Python objects")
    dtype = number_dtype(descr)
    if dtype is None:
        raise _OtherDtypeError(f"holds elements of the dtype {clean(descr)}")
    return dtype, ""
