"""Stable-Baselines3's .zip files: settings of an agent, and its networks as PyTorch saves them.

Format: stable_baselines3/common/save_util.py. The optimizer's state lies beside and is no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint
from mother.checkpoints.torch_files import (
    has_torch_members,
    looks_like_legacy_torch,
    read_legacy_torch,
    read_torch_zip,
)
from mother.checkpoints.zip_archive import Member, looks_like_zip, read_members

#: the member that holds the networks
POLICY = "policy.pth"


def read_stable_baselines(file: File, members: Mapping[str, Member]) -> Checkpoint:
    """The checkpoint in a saved agent: actor, critic and targets in one. Raises InputError."""
    policy = members[POLICY]
    if policy.deflated:
        raise file.fault(f"an agent whose {POLICY} is compressed; unzip it")
    inside = file.section(policy.offset, policy.offset + policy.size)
    start = inside.read(0, min(64, inside.size))
    if looks_like_legacy_torch(start):
        found = read_legacy_torch(inside)
    else:
        zipped = read_members(inside) if looks_like_zip(start) else {}
        if not has_torch_members(zipped):
            raise file.fault(f"a zip archive whose {POLICY} holds no PyTorch data")
        found = read_torch_zip(inside, zipped)
    return replace(found, format="stable-baselines3", files=(file,))
