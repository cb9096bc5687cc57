"""Models with fewer, more or reordered blocks: which block of one is which of its relatives', told
by what is in it. Blocks that were dropped, repeated or moved have other numbers than before, and by
number each would be compared with a stranger."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints.tensor import Checkpoint, Tensor

Array = NDArray[np.float32]
Stack = dict[int, dict[str, Tensor]]
BLOCK_WEIGHTS = 4096  # weights of a block that are compared
MAX_BLOCKS = 512  # blocks of a model
BLOCK_COSINE = 0.3  # cosine of what is one block in two relatives
_NUMBERED = re.compile(r"(?P<stack>.*?[./]|)(?P<number>\d+)[./](?P<rest>.+)", re.DOTALL)


def by_their_blocks(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Models that can be compared, those whose blocks have other numbers than their relatives' with
    the numbers of these; `blocks` holds them in order, -1 for one that is like none of them.

    The numbers are those that the most models have, as many of their blocks. A block that stands
    twice is compared once. Sketches stay as they are.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> w = np.random.default_rng(0).standard_normal((3, 64, 64)).astype(np.float32)
    >>> def of(id, *blocks):
    ...     names = {f"h.{k}.w": w[b] for k, b in enumerate(blocks)}
    ...     return Checkpoint(id, Path(id), "npz", {n: constant(n, x) for n, x in names.items()})
    >>> found = by_their_blocks([of("a", 0, 1, 2), of("b", 0, 1, 2), of("c", 0, 2)])
    >>> found[2].blocks, sorted(found[2].tensors)
    ((0, 2), ['h.0.w', 'h.2.w'])
    """
    if len(checkpoints) < 2 or any(c.is_sketch for c in checkpoints):
        return list(checkpoints)
    name = _stack(checkpoints)
    stacks = [_blocks(c, name) for c in checkpoints]
    many = Counter(len(stack) for stack in stacks if stack)
    if not many or max(many) > MAX_BLOCKS:
        return list(checkpoints)
    usual = min(many, key=lambda k: (-many[k], -k))
    first = next(k for k, stack in enumerate(stacks) if len(stack) == usual)
    kinds = _kinds(stacks[first])
    if not kinds:
        return list(checkpoints)
    reference = _samples(stacks[first], kinds)
    out = []
    for k, (checkpoint, stack) in enumerate(zip(checkpoints, stacks, strict=True)):
        if k == first or not stack or kinds - _kinds(stack):
            out.append(checkpoint)
            continue
        if len(stack) == usual and _in_place(stack, stacks[first], kinds):
            out.append(checkpoint)
            continue
        numbers = _matched(_samples(stack, kinds), reference)
        moved = any(number >= 0 and number != at for at, number in enumerate(numbers))
        moved |= len(numbers) != usual and max(numbers) >= 0
        out.append(_renumbered(checkpoint, name, stack, numbers, usual) if moved else checkpoint)
    return out


def _stack(checkpoints: Sequence[Checkpoint]) -> str:
    """What stands before the numbers of the blocks that hold the most weights."""
    size: dict[str, int] = defaultdict(int)
    for tensor in (t for c in checkpoints[:8] for t in c.tensors.values()):
        if found := _NUMBERED.fullmatch(tensor.name):
            size[found["stack"]] += tensor.size
    return max(sorted(size), key=lambda name: size[name], default="")


def _blocks(checkpoint: Checkpoint, stack: str) -> Stack:
    found: Stack = defaultdict(dict)
    for tensor in checkpoint.tensors.values():
        part = _NUMBERED.fullmatch(tensor.name)
        if part and part["stack"] == stack and tensor.is_weight and len(part["number"]) < 5:
            found[int(part["number"])][part["rest"]] = tensor
    return dict(sorted(found.items()))


def _kinds(stack: Stack) -> frozenset[tuple[str, tuple[int, ...]]]:
    """The matrices that all blocks have."""
    every = [
        {(rest, t.shape) for rest, t in block.items() if len(t.shape) > 1 and t.size >= 256}
        for block in stack.values()
    ]
    return frozenset(set.intersection(*every)) if every else frozenset()


def _samples(stack: Stack, kinds: frozenset[tuple[str, tuple[int, ...]]]) -> Array:
    """Some weights of each block, (blocks, W), each matrix by its length."""
    each = max(256, BLOCK_WEIGHTS // max(1, len(kinds)))
    rows = []
    for block in stack.values():
        parts = []
        for rest, _ in sorted(kinds):
            tensor = block[rest]
            part = tensor.read(0, min(each, tensor.size)).astype(np.float64)
            part = np.nan_to_num(part, posinf=0.0, neginf=0.0)
            part /= max(float(np.abs(part).max(initial=0.0)), 1e-300)  # no square is too large then
            parts.append((part / max(float(np.linalg.norm(part)), 1.0)).astype(np.float32))
        rows.append(np.concatenate(parts) / len(parts) ** 0.5)
    return np.stack(rows)


def _in_place(stack: Stack, other: Stack, kinds: frozenset[tuple[str, tuple[int, ...]]]) -> bool:
    """Whether each block is alike that of its number, by one matrix."""
    if not kinds or stack.keys() != other.keys():
        return False
    few = frozenset([min(kinds)])
    one, two = _samples(stack, few), _samples(other, few)
    return bool(((one * two).sum(axis=1) >= BLOCK_COSINE).all())


def _matched(own: Array, others: Array) -> list[int]:
    """Of each block, the number of that which it is alike, -1 for none."""
    cosine = own @ others.T
    best = cosine.argmax(axis=1)
    return [int(b) if cosine[k, b] >= BLOCK_COSINE else -1 for k, b in enumerate(best)]


def _renumbered(
    checkpoint: Checkpoint, name: str, stack: Stack, numbers: Sequence[int], usual: int
) -> Checkpoint:
    """The checkpoint with the numbers of its relatives; a block that stands a second time, or is
    like none, gets one that they don't have."""
    taken, spare = set[int](), usual
    to: dict[int, int] = {}
    for k, number in zip(stack, numbers, strict=True):
        if number < 0 or number in taken:
            number, spare = spare, spare + 1
        taken.add(number)
        to[k] = number
    tensors: dict[str, Tensor] = {}
    for stored, tensor in checkpoint.tensors.items():
        part = _NUMBERED.fullmatch(tensor.name)
        if part and part["stack"] == name and int(part["number"]) in to:
            at = len(name), len(name) + len(part["number"])
            new = f"{tensor.name[: at[0]]}{to[int(part['number'])]}{tensor.name[at[1] :]}"
            tensors[new] = replace(tensor, name=new)
        else:
            tensors[stored] = tensor
    note = f"its blocks are {said(numbers)} of its relatives"
    return replace(
        checkpoint, tensors=tensors, blocks=tuple(numbers), notes=(*checkpoint.notes, note)
    )


def said(numbers: Sequence[int]) -> str:
    """Numbers in runs; a dash for what is like none.

    >>> said([0, 1, 2, 1, 2, -1])
    '0-2, 1-2, -'
    """
    runs: list[list[int]] = []
    for k in numbers:
        if runs and k >= 0 and runs[-1][-1] == k - 1 and runs[-1][-1] >= 0:
            runs[-1].append(k)
        else:
            runs.append([k])
    shown = ["-" if r[0] < 0 else str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs]
    return ", ".join(shown)
