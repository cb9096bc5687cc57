"""What the header of an object in an HDF5 file says: its shape, type, layout, filters and links.

Format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, section IV.A.2
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from mother.checkpoints.laid_out import MAX_DIMENSIONS
from mother.checkpoints.tensor import DType, clean

#: the address of what is nowhere
NOWHERE = (1 << 64) - 1


@dataclass
class Messages:
    """What of an object's header is kept."""

    shape: tuple[int, ...] | None = None
    dtype: DType | None = None
    kind: str = ""
    layout: bytes = b""
    filters: list[int] = field(default_factory=list)
    links: list[tuple[str, int]] = field(default_factory=list)
    tables: list[tuple[int, int]] = field(default_factory=list)
    dense: bool = False


def keep(held: Messages, kind: int, body: bytes) -> None:
    """Take from a message what tells of links, or of a dataset's shape, type and place."""
    if kind == 1:
        held.shape = _dataspace(body)
    elif kind == 3:
        held.dtype, held.kind = _datatype(body)
    elif kind == 8:
        held.layout = body
    elif kind == 11:
        held.filters = _filters(body)
    elif kind == 6:
        link = _link(body)
        held.links += [link] if link else []
    elif kind == 17 and len(body) >= 16:
        held.tables.append(struct.unpack_from("<QQ", body))
    elif kind == 2 and len(body) >= 18:
        (heap,) = struct.unpack_from("<Q", body, 2 + (8 if body[1] & 1 else 0))
        held.dense = held.dense or heap != NOWHERE


def _dataspace(body: bytes) -> tuple[int, ...] | None:
    version, rank = body[0], body[1]
    if version not in (1, 2) or rank > MAX_DIMENSIONS:
        return None
    if version == 2 and body[3] == 2:  # no data at all
        return None
    return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)


def _datatype(body: bytes) -> tuple[DType | None, str]:
    """The dtype of a datatype message, or what it is instead."""
    kind, bits = body[0] & 15, body[1] | body[2] << 8 | body[3] << 16
    (size,) = struct.unpack_from("<I", body, 4)
    order = ">" if bits & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8):
        return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"), ""
    if kind == 1 and size in (2, 4, 8):
        exponent = body[13]
        if size == 2 and exponent == 8:
            return (np.dtype(ml_dtypes.bfloat16), "") if order == "<" else (None, "big-endian bf16")
        if exponent == {2: 5, 4: 8, 8: 11}[size]:
            return np.dtype(f"{order}f{size}"), ""
    if kind == 8:
        return np.dtype("u1") if size == 1 else None, "an enumeration"
    return None, {3: "text", 6: "records", 9: "lists"}.get(kind, "no numbers that are read")


def _filters(body: bytes) -> list[int]:
    version, count = body[0], body[1]
    found, at = [], 8 if version == 1 else 2
    for _ in range(count):
        (kind,) = struct.unpack_from("<H", body, at)
        at += 2
        name = 0
        if version == 1 or kind >= 256:
            (name,) = struct.unpack_from("<H", body, at)
            at += 2
        _, values = struct.unpack_from("<HH", body, at)
        at += 4 + (-(-name // 8) * 8 if version == 1 else name) + 4 * values
        at += 4 if version == 1 and values % 2 else 0
        found.append(kind)
    return found


def _link(body: bytes) -> tuple[str, int] | None:
    """Name and target of a hard link; None of others."""
    flags, at = body[1], 2
    if flags & 8:
        if body[2] != 0:
            return None
        at += 1
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[at : at + width], "little")
    at += width
    name = clean(body[at : at + length].decode("utf-8", "surrogateescape"))
    return name, struct.unpack_from("<Q", body, at + length)[0]
