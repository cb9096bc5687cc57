"""Stable-Baselines3's .zip files: settings of an agent, and its networks as PyTorch saves them.

Format: stable_baselines3/common/save_util.py. The optimizers' states lie beside and are no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from mother.checkpoints.counted import MAX_COUNTS
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, Tensor
from mother.checkpoints.torch_files import (
    has_torch_members,
    looks_like_legacy_torch,
    read_legacy_torch,
    read_torch_zip,
)
from mother.checkpoints.zip_archive import Member, looks_like_zip, read_members
from mother.errors import InputError

#: the member that holds the networks
POLICY = "policy.pth"
#: how those end that hold states of optimizers
OPTIMIZER = "optimizer.pth"


def read_stable_baselines(file: File, members: Mapping[str, Member]) -> Checkpoint:
    """The checkpoint in a saved agent: actor, critic and targets in one. Raises InputError."""
    found = _within(file, members, POLICY)
    states = [n for n in members if n.endswith(OPTIMIZER)][:MAX_COUNTS]
    steps = dict[str, Tensor]()
    for name in states:
        with suppress(InputError):  # without it the agent is as whole
            steps |= {f"{name} {k}": t for k, t in _within(file, members, name).steps.items()}
    return replace(found, format="stable-baselines3", files=(file,), steps=steps)


def _within(file: File, members: Mapping[str, Member], name: str) -> Checkpoint:
    """What PyTorch saved as a member. Raises InputError."""
    member = members[name]
    if member.deflated:
        raise file.fault(f"an agent whose {name} is compressed; unzip it")
    inside = file.section(member.offset, member.offset + member.size)
    start = inside.read(0, min(64, inside.size))
    if looks_like_legacy_torch(start):
        return read_legacy_torch(inside)
    zipped = read_members(inside) if looks_like_zip(start) else {}
    if not has_torch_members(zipped):
        raise file.fault(f"a zip archive whose {name} holds no PyTorch data")
    return read_torch_zip(inside, zipped)
