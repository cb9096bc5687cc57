"""Models whose heritage is known, with all that was measured of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph

from experiments.build import Build, Workers
from experiments.courses import plan as plan_of_courses
from experiments.plan import seed_of
from mother.checkpoints import discover
from mother.evidence.looks import Look
from mother.layouts import Group, align
from mother.measures import Measures, measure
from mother.methods import gram
from mother.trees.forest import Forest

Indices = NDArray[np.intp]


class NotBuilt(Exception):  # noqa: N818  (reads as what was found)
    """A split that is asked for is not there."""


@dataclass(frozen=True, eq=False)
class Family:
    """Some models of one architecture, and the truth about them.

    group     the checkpoints they are among, `members` by their index in it
    measures  of the members alone
    parents   (n,) the true ones, by their place among the members; -1 where there is none
    tree      (n,) labels of the true trees
    grows     (n,) whether a model is of the generalization stage
    """

    group: Group
    members: tuple[int, ...]
    measures: Measures
    parents: Indices
    tree: Indices
    grows: NDArray[np.bool_]

    @property
    def ids(self) -> list[str]:
        return [self.group.checkpoints[k].id for k in self.members]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """True edges, parent and child."""
        return [(int(p), c) for c, p in enumerate(self.parents) if p >= 0]

    def recover(self) -> Forest:
        """What the default method finds, from the weights alone."""
        return gram.recover(self.measures, [Look.of(self.group.among(self.members))])

    def among(self, chosen: Iterable[int]) -> Family:
        """The same of some of the models; where a parent is not one of them, its edge is gone."""
        pick = [int(k) for k in chosen]
        place = np.full(len(self.members) + 1, -1, dtype=np.intp)  # the last stands for no parent
        place[pick] = np.arange(len(pick))
        return Family(
            self.group,
            tuple(self.members[k] for k in pick),
            self.measures.among(pick),
            place[self.parents[pick]],
            self.tree[pick],
            self.grows[pick],
        )

    def trees(self) -> dict[str, Family]:
        """Each true tree by the id of its root."""
        out = {}
        for label in np.unique(self.tree):
            tree = self.among(np.flatnonzero(self.tree == label))
            out[tree.ids[int(np.flatnonzero(tree.parents < 0)[0])]] = tree
        return out

    def depth(self) -> Indices:
        """Number of edges from each model up to its root, (n,)."""
        depth = np.zeros(len(self.parents), dtype=np.intp)
        above = self.parents
        while (above >= 0).any():
            depth += above >= 0
            above = np.where(above >= 0, self.parents[above], -1)
        return depth

    def edges_between(self) -> NDArray[np.float64]:
        """Number of edges on the way from one model to another, direction aside: the paper's
        d(u, v), (n, n), infinite across trees."""
        n = len(self.parents)
        adjacent = np.zeros((n, n))
        for parent, child in self.edges:
            adjacent[parent, child] = 1
        return np.asarray(csgraph.shortest_path(adjacent, directed=False, unweighted=True))


def measured(paths: Sequence[Path], *, entropy: bool = False, threads: int = 1) -> Family:
    """Checkpoints of one architecture, in the order given, with nothing known about them."""
    found, problems = discover(paths)
    assert not problems, problems
    order = {path.stem: k for k, path in enumerate(paths)}
    (group,) = align(sorted(found, key=lambda c: order[c.id]))
    n = len(paths)
    return Family(
        group,
        tuple(range(n)),
        measure(group, distances=True, moments=True, entropy=entropy, threads=threads),
        np.full(n, -1, dtype=np.intp),
        np.arange(n, dtype=np.intp),
        np.zeros(n, dtype=bool),
    )


@lru_cache(maxsize=6)
def read(folder: Path, threads: int = 1) -> Family:
    """A built split of one architecture. The models are in an order that tells nothing, or ties
    would go to the roots."""
    truth: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    ids: list[str] = truth["nodes"]
    random.Random(seed_of("order", folder.name)).shuffle(ids)
    family = measured([folder / f"{id}.safetensors" for id in ids], threads=threads)
    place = {id: k for k, id in enumerate(ids)}
    parents, tree = family.parents, family.tree
    for parent, child in truth["edges"]:
        parents[place[child]] = place[parent]
    for label, members in enumerate(truth["trees"]):
        tree[[place[id] for id in members]] = label
    grows = np.array([truth["stages"][id] == "generalization" for id in ids])
    return replace(family, grows=grows)


@dataclass(frozen=True)
class Data:
    """Where the splits of a scale lie: BASE/SCALE/SPLIT-SEED, as `build` puts them."""

    base: Path
    scale: str
    seeds: tuple[int, ...]
    processes: int = 1

    def folder(self, split: str, seed: int) -> Path:
        return self.base / self.scale / f"{split}-{seed}"

    @property
    def roots(self) -> Path:
        """One set for all seeds."""
        return self.folder("roots", 0)

    def there(self, split: str) -> list[int]:
        """The seeds of which the split is built to its end."""
        return [s for s in self.seeds if (self.folder(split, s) / "truth.json").exists()]

    def families(self, *splits: str) -> Iterator[tuple[str, int, Family]]:
        """The splits that are there, by name and seed. NotBuilt if none is."""
        there = [(split, seed) for split in splits for seed in self.there(split)]
        if not there:
            raise NotBuilt(
                f"no {' nor '.join(splits)} of scale {self.scale} under {self.base}: "
                f"python -m experiments build {splits[0]} --scale {self.scale} "
                f"--seed {self.seeds[0]}"
            )
        for split, seed in there:
            yield split, seed, read(self.folder(split, seed), self.processes)

    def watched(self, name: str) -> list[tuple[int, Path]]:
        """Folders of `courses` or `siblings` by seed, trained where they are missing."""
        folders = [(seed, self.folder(name, seed)) for seed in self.seeds]
        with Workers(self.processes) as workers:
            for seed, folder in folders:
                Build(name, self.scale, seed, folder, self.roots, plan_of_courses).run(workers)
        return folders
