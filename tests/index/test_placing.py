"""`place` says what `add` would do, where kinship is in doubt, too."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from families import write
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mother.graph.placement import placement
from mother.index import Index
from mother.index.store import NAME

SHAPES = {f"block.{k}.weight": (48, 48) for k in range(3)}
BUDGET = 1 << 10
pytestmark = pytest.mark.usefixtures("few_replicates")


def faint(rng, root):
    """What shares about so much with a root as parts relatives from strangers."""
    cosine = rng.uniform(0.1, 0.2)
    noise = np.sqrt(1 - cosine**2)
    return {n: cosine * w + noise * rng.normal(size=w.shape) for n, w in root.items()}


def tuned(rng, weights):
    scale = rng.choice([0.3, 0.5, 0.8])
    return {n: w + scale * rng.normal(size=w.shape) for n, w in weights.items()}


def merged(rng, weights, other):
    share = rng.choice([0.97, 0.9, 0.5])
    return {n: share * w + (1 - share) * other[n] for n, w in weights.items()}


def collection(folder, seed):
    """Families between which kinship is in doubt, of a few members each, and merges of these; in
    any order."""
    rng = np.random.default_rng(seed)
    models = [{n: rng.normal(size=s) for n, s in SHAPES.items()}]
    for _ in range(rng.integers(1, 3)):
        models.append(faint(rng, models[rng.integers(len(models))]))
    for _ in range(rng.integers(3, 7)):
        one, other = (models[k] for k in rng.integers(len(models), size=2))
        models.append(merged(rng, one, other) if rng.random() < 0.2 else tuned(rng, one))
    names = rng.permutation(len(models))
    paths = [write(folder / f"m{k}.safetensors", x) for k, x in zip(names, models, strict=True)]
    return [paths[k] for k in rng.permutation(len(paths))]


def stored(folder):
    with closing(sqlite3.connect(folder / NAME)) as database:
        return list(database.iterdump())


@given(seed=st.integers(0, 1 << 31))
@example(12)  # where the newcomer is not the one that its family is judged by
@example(42)
@example(68)
@example(71)
@settings(max_examples=1, deadline=None)
def test_place_says_what_add_does(seed):
    with tempfile.TemporaryDirectory() as at:
        new, *others = collection(Path(at), seed)
        folder = Path(at) / "index"
        with Index.create(folder, budget=BUDGET) as index:
            index.add(others)
            before = stored(folder)
            placed = index.place(new)
            assert stored(folder) == before
            index.add([new])
            (family,) = (m.family for m in index.models() if m.id == new.stem)
            beside = [m for m in index.models() if m.family == family and m.id != new.stem]
            added = placement(index.graph(), new.stem, len(others))
            assert placed == replace(added, compared=len(beside))
