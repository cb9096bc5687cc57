"""Models that were rounded, quantized or pruned, in place of themselves and beside."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.figures.families import Data
from experiments.figures.judged import ROLE, verdict
from experiments.figures.pages import Page, Table, markdown
from experiments.figures.pictures import GREY, bars, legend_below, panels
from experiments.figures.splits import Built, by_ours, there
from experiments.plan import seed_of
from mother import ModelGraph, evaluate
from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.graph.evaluation import Truth
from mother.measures import is_matrix
from mother.options import Options
from mother.recovery import recover_checkpoints

QUESTION = """
Half of the models of each split, drawn by lot, are rounded to bf16 or fp16, quantized to int8 with
one scale a matrix, or pruned by magnitude to half of each matrix, and widened to float32 again.
First they take the place of what they were made from: the share of edges that are right must not
fall by more than 0.03. Then they are put beside it: a copy must not be taken for the parent of its
original.
"""

NOTES = """
Edges right are counted among those between models of the split, of all true ones; a model that
hangs from a copy of its parent counts as wrong, but not where *copies and originals* are *as one*.
A copy that is bit for bit its original, as where training was in bf16, is not put beside it. The
same models are drawn for each compression.
"""

#: by how much the share of edges that are right may fall
FALL = 0.03
COPY = "copy-of-"
Values = NDArray[np.generic]


def rounded(dtype: Any) -> Callable[[Values], Values]:
    """To a coarser type and back."""
    return lambda values: values.astype(dtype).astype(values.dtype)


def quantized(values: Values) -> Values:
    """To int8 with one scale, symmetric, and back.

    >>> quantized(np.array([[127.0, -3.4]])).tolist()
    [[127.0, -3.0]]
    """
    scale = np.abs(values).max() / 127
    return np.asarray(np.rint(values / scale) * scale, dtype=values.dtype) if scale else values


def pruned(values: Values) -> Values:
    """Without the smaller half of its weights.

    >>> pruned(np.array([[1.0, -4.0], [3.0, 2.0]])).tolist()
    [[0.0, -4.0], [3.0, 0.0]]
    """
    out = values.copy()
    out.flat[np.argsort(np.abs(out), axis=None, kind="stable")[: out.size // 2]] = 0
    return out


#: what is done, and whether to matrices alone
COMPRESSIONS: Mapping[str, tuple[Callable[[Values], Values], bool]] = {
    "bf16": (rounded(ml_dtypes.bfloat16), False),
    "fp16": (rounded(np.float16), False),
    "int8": (quantized, True),
    "pruned": (pruned, True),
}


def compressed(checkpoint: Checkpoint, compression: str) -> Checkpoint:
    """A copy under the same name, in memory."""
    change, matrices_alone = COMPRESSIONS[compression]
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        values = tensor.read().reshape(tensor.shape)
        if tensor.is_weight:  # bf16 arithmetic would round a scale and what it divides
            values = values.astype(np.float32)
        if tensor.is_weight and (is_matrix(tensor.shape) or not matrices_alone):
            values = change(values)
        tensors[name] = constant(name, values)
    return replace(checkpoint, tensors=tensors, files=())


def identical(a: Checkpoint, b: Checkpoint) -> bool:
    return all(np.array_equal(a.tensors[name].read(), b.tensors[name].read()) for name in a.tensors)


def half(built: Built, split: str, seed: int) -> list[str]:
    """The models drawn, by name."""
    ids = sorted(built.checkpoints)
    return sorted(random.Random(seed_of(seed, split, "compressed")).sample(ids, len(ids) // 2))


def page(data: Data) -> Page:
    table = Table()
    for split, seed in there(data):
        built, untouched = by_ours(data.folder(split, seed), data.processes)
        if split == "mixed" or not built.truth.edges:
            continue
        before = evaluate(untouched, built.truth)
        drawn = half(built, split, seed)
        for compression in COMPRESSIONS:
            small = {id: compressed(built.checkpoints[id], compression) for id in drawn}
            instead = evaluate(_found(built.checkpoints | small, data.processes), built.truth)
            copies = {
                f"{COPY}{id}": replace(copy, id=f"{COPY}{id}", path=Path(f"{COPY}{id}"))
                for id, copy in small.items()
                if not identical(copy, built.checkpoints[id])
            }
            graph = _found(built.checkpoints | copies, data.processes)
            table.add(
                split=split,
                seed=seed,
                compression=compression,
                true=before.true,
                untouched=before.right,
                instead=instead.right,
                instead_undirected=instead.right_undirected,
                instead_index=instead.adjusted_rand_index,
                beside=evaluate(graph, built.truth).right,
                **_copies(graph, list(copies), built.truth),
            )
    return Page(
        "Robustness",
        QUESTION,
        _text(table, data.scale),
        table.rows,
        _picture(table),
        "Edges right with half of the models compressed, by split",
    )


def _found(checkpoints: Mapping[str, Checkpoint], threads: int) -> ModelGraph:
    inputs = [checkpoints[id] for id in sorted(checkpoints)]
    return recover_checkpoints(inputs, Options(bootstrap=0, threads=threads))


def _copies(graph: ModelGraph, copies: list[str], truth: Truth) -> dict[str, object]:
    """How many copies there are, hang from their original, and are called its parent; and the true
    edges that are right if a copy is as good as its original."""
    edges = {(edge.parent, edge.child) for edge in graph.edges}
    pairs = [(copy.removeprefix(COPY), copy) for copy in copies]
    as_one = {(p.removeprefix(COPY), c.removeprefix(COPY)) for p, c in edges}
    return {
        "beside_as_one": len(as_one & set(truth.edges)),
        "copies": len(pairs),
        "below_original": sum(pair in edges for pair in pairs),
        "above_original": sum((copy, original) in edges for original, copy in pairs),
    }


def _text(table: Table, scale: str) -> str:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))
    rows = [_line(split, c, table, {"split": split}) for split in splits for c in COMPRESSIONS]
    every = [_line("**all**", c, table, {}) for c in COMPRESSIONS]
    head = [
        "split",
        "compression",
        "untouched",
        "instead",
        "falls by",
        f"aim: ≤ {FALL}",
        "beside",
        "falls by",
        "copies and originals as one",
        "copies below their original",
        "above it",
    ]
    return "\n\n".join([ROLE[scale], markdown(head, [*every, *rows]), NOTES.strip()])


def _line(name: str, compression: str, table: Table, of: dict[str, object]) -> list[str]:
    def total(figure: str) -> float:
        return sum(table.of(figure, compression=compression, **of))

    true, untouched, instead = total("true"), total("untouched"), total("instead")
    falls = (untouched - instead) / true
    return [
        name,
        compression,
        f"{untouched:.0f} of {true:.0f}",
        f"{instead:.0f}",
        f"{falls:.3f}",
        verdict(-falls, -FALL),
        f"{total('beside'):.0f}",
        f"{(untouched - total('beside')) / true:.3f}",
        f"{total('beside_as_one'):.0f}",
        f"{total('below_original'):.0f} of {total('copies'):.0f}",
        f"{total('above_original'):.0f}",
    ]


def _picture(table: Table) -> Figure:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))

    def share(figure: str, split: str, compression: str) -> float:
        at = {"split": split, "compression": compression}
        return sum(table.of(figure, **at)) / sum(table.of("true", **at))

    with panels(1, 1, width=8) as (figure, (ax,)):
        bars(
            ax,
            splits,
            {c: [share("instead", split, c) for split in splits] for c in COMPRESSIONS},
            {},
        )
        for k, split in enumerate(splits):
            untouched = share("untouched", split, "bf16")
            ax.plot(
                [k - 0.45, k + 0.45],
                [untouched, untouched],
                color=GREY,
                linestyle=":",
                label="untouched" if k == 0 else None,
            )
        ax.set(ylabel="edges right", ylim=(0, 1.05))
        legend_below(figure, ax, 5)
    return figure
