"""PyTorch's exported programs (.pt2): weights by name beside a graph, which is not looked at.

Format: torch/export/pt2_archive/constants.py and torch/_export/serde/schema.py (PayloadMeta). What
versions before 2.9 wrote holds a state dict of torch.save's in their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mother.checkpoints.laid_out import MAX_DIMENSIONS, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean, dtype_of
from mother.checkpoints.torch_files import has_torch_members, read_torch_zip
from mother.checkpoints.work import TENSOR
from mother.checkpoints.zip_archive import Member, content, read_members, span

MAX_CONFIG = 64 << 20
_CONFIG = re.compile(r"(?:.*/)?data/weights/[^/]*_weights_config\.json")
_STATE = re.compile(r"(?:.*/)?(?:data/weights/[^/]*\.pt|serialized_state_dict\.(?:pt|json))")
#: by the numbers of torch._export.serde.schema.ScalarType
_DTYPES = {
    **dict(enumerate(("uint8", "int8", "int16", "int32", "int64"), 1)),
    **dict(enumerate(("float16", "float32", "float64"), 6)),
    10: "complex64",
    **dict(enumerate(("complex128", "bool", "bfloat16"), 11)),
    28: "uint16",
    **dict(enumerate(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"), 29)),
    **dict(enumerate(("float8_e5m2fnuz", "float8_e8m0fnu", "uint32", "uint64"), 32)),
}


def is_exported(names: Iterable[str]) -> bool:
    """Whether an archive with these members is an exported program.

    >>> is_exported(["net/data/weights/model_weights_config.json"]), is_exported(["net/data.pkl"])
    (True, False)
    """
    return any(_CONFIG.fullmatch(name) or _STATE.fullmatch(name) for name in names)


def read_exported(file: File, members: Mapping[str, Member]) -> Checkpoint:
    """The checkpoint in an exported program; reads its tables only. Raises InputError."""
    configs = [name for name in members if _CONFIG.fullmatch(name)]
    states = [name for name in members if _STATE.fullmatch(name)]
    if len(configs) + len(states) != 1:
        raise file.fault(f"holds {len(configs) + len(states)} programs; save them one by one")
    if states:
        found = _state(file, members[states[0]])
        return replace(found, id=file.path.stem, path=file.path, format="exported", files=(file,))
    home = configs[0].rpartition("/")[0]
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    for name, told in _table(file, members[configs[0]]).items():
        label = clean(name)
        file.work.spend(TENSOR)
        if isinstance(told, dict) and told.get("use_pickle"):
            notes.append(f"skipped {label!r}: pickled")
            continue
        try:
            tensors[label] = _tensor(file, members, home, label, told)
        except ValueError as error:
            raise file.fault(f"tensor {label[:200]!r} {error}") from None
    if not tensors:
        raise file.fault("; ".join(["an exported program without weights", *notes[:1]]))
    return Checkpoint(file.path.stem, file.path, "exported", tensors, notes=tuple(notes))


def _state(file: File, member: Member) -> Checkpoint:
    if member.deflated:
        raise file.fault(f"an exported program whose {clean(member.name)} is compressed; unzip it")
    inside = file.section(member.offset, member.offset + member.size)
    zipped = read_members(inside)
    if not has_torch_members(zipped):
        raise file.fault(f"{clean(member.name)} holds no PyTorch data")
    return read_torch_zip(inside, zipped)


def _table(file: File, member: Member) -> dict[str, Any]:
    try:
        parsed = json.loads(content(file, member, MAX_CONFIG).decode("utf-8"))
    except (ValueError, RecursionError):
        parsed = None
    told = parsed.get("config") if isinstance(parsed, dict) else None
    if not isinstance(told, dict):
        raise file.fault("an exported program whose list of weights is not valid JSON")
    return told


def _tensor(file: File, members: Mapping[str, Member], home: str, label: str, told: Any) -> Tensor:
    meta = told.get("tensor_meta") if isinstance(told, dict) else None
    place = told.get("path_name") if isinstance(told, dict) else None
    member = members.get(f"{home}/{place}")
    if not isinstance(meta, dict) or member is None:
        raise ValueError("is told without its numbers")
    (offset,) = _whole([meta.get("storage_offset")])
    shape, strides = _whole(meta.get("sizes")), _whole(meta.get("strides"))
    dtype = _dtype(meta.get("dtype"))
    inside = span(file, member)
    return lay_out(label, inside, dtype, shape, strides, offset * dtype.itemsize)


def _dtype(told: Any) -> DType:
    dtype = dtype_of(_DTYPES.get(told, "")) if type(told) is int else None
    if dtype is None:
        raise ValueError(f"is of the unknown dtype {clean(str(told))[:40]!r}")
    return dtype


def _whole(told: Any) -> tuple[int, ...]:
    """Sizes, each of which may be wrapped as {"as_int": 3}."""
    if not isinstance(told, list) or len(told) > MAX_DIMENSIONS:
        raise ValueError("lacks a valid shape")
    numbers: list[Any] = [n.get("as_int") if isinstance(n, dict) else n for n in told]
    if not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError("lacks a valid shape")
    return tuple(numbers)
