"""A hidden child placed in an index of many strangers of its architecture."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save_file

from experiments.hidden.labels import ALL, hide
from experiments.hidden.nets import Weights
from mother.index import Index
from mother.sketches.labels import LABELS
from mother.sketches.signature import SIGNATURE

#: kind of net, children, of these hung from their base, seconds a child
Row = tuple[str, int, int, float]


def placed(kind: str, families: Sequence[dict[str, dict[str, Weights]]], many: int) -> Row:
    """Bases and children of an index, with so many strangers whose signatures and labels are drawn,
    and second children of these bases under other labels, one after the other."""
    right, spent, count = 0, 0.0, 0
    with TemporaryDirectory() as folder:
        place, out = Path(folder) / "models", Path(folder) / "hidden.safetensors"
        place.mkdir()
        for k, family in enumerate(families):
            for name in ("base", "kid"):
                save_file(family["10 %"][name], place / f"{name}-{k}.safetensors")
        with Index.create(Path(folder) / "index") as index:
            index.add([place])
            _crowd(index, place / "base-0.safetensors", many)
            index.place(place / "kid-0.safetensors")  # and the index is read
            for k, weights in _hidden(kind, families):
                save_file(weights, out)
                start = time.process_time()
                found = index.place(out)
                spent += time.process_time() - start
                count += 1
                right += found.edge is not None and found.edge.parent == f"base-{k}"
    return kind, count, right, spent / count


def _hidden(
    kind: str, families: Sequence[dict[str, dict[str, Weights]]]
) -> Iterator[tuple[int, Weights]]:
    for k, family in enumerate(families):
        for step in family:
            yield k, hide(ALL, kind, family[step]["hidden"], k)


def _crowd(index: Index, like: Path, many: int) -> None:
    """Add models of the architecture of a checkpoint, of which nothing is known but how they look
    at first sight."""
    from mother.checkpoints import open_checkpoint

    draw = np.random.default_rng(0)
    new = index.reduce(open_checkpoint(like))
    catalogue = index._catalogue
    with catalogue.writing():
        for k in range(many):
            signature = draw.standard_normal(SIGNATURE).astype(np.float32)
            marks = draw.standard_normal(LABELS)
            told = np.round(127 * marks / np.abs(marks).max()).astype(np.int8).tobytes()
            one = replace(
                new,
                path=f"/strangers/{k}",
                signature=signature * np.linalg.norm(new.signature) / np.linalg.norm(signature),
                labels=told,
                content=b"",
                contents=frozenset(),
            )
            number, _ = catalogue.insert(one, f"stranger-{k}", set())
            catalogue.regroup({number: number})
