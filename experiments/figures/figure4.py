"""Figure 4: all graphs of three models."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data, Family, Indices
from experiments.figures.methods import chosen, count, ours
from experiments.figures.pages import Page, Table, markdown, mean, spread
from experiments.figures.pictures import bars, legend_below, panels
from experiments.plan import seed_of
from mother.methods import paper
from mother.methods.scores import kurtosis

#: ft is of the specialization stage, continued of the generalization stage
SPLITS = {"ft": "dense", "continued": "dense"}
KINDS = {
    "GPC": "grandparent, parent, child",
    "PC2": "parent, two children",
    "PCS": "parent, child, stranger",
    "S3": "three strangers",
}
MOST = 100
#: of the range of a layer: what is further apart than this has no edge
THRESHOLD = 0.5

QUESTION = f"""
The paper's warm-up (sec. 5.1): which of the possible graphs is it? Up to {MOST} triples of each
kind are drawn from full fine-tuning (specialization) and from continued pre-training
(generalization, so the sign of the score is turned). Right is a triple all of whose edges are
found, and no other. The paper's way: edges by lowest distance (eq. 1, dense layers), cut above
{THRESHOLD:g} of a layer's range, and the highest kurtosis as root. Ours is the default method, told
neither stage nor threshold.
"""


def page(data: Data) -> Page:
    table = Table()
    for split, seed, family in data.families(*SPLITS):
        for kind in KINDS:
            rng = random.Random(seed_of(seed, "figure 4", split, kind))
            for triple in triples(family, kind, rng):
                part = family.among(triple)
                at = {"split": split, "seed": seed, "kind": kind}
                named = dict(zip(("a", "b", "c"), part.ids, strict=True))
                found = {"paper": _papers(part, SPLITS[split]), "ours": ours(part)}
                for method, parents in found.items():
                    right = count(parents, part.parents)
                    table.add(
                        **at,
                        **named,
                        method=method,
                        right=int(np.array_equal(parents, part.parents)),
                        without_direction=int(right.undirected == right.true == right.found),
                    )
    there = [split for split in SPLITS if table.of("right", split=split)]
    return Page(
        "Figure 4: graphs of three models",
        QUESTION,
        _text(table, there),
        table.rows,
        _picture(table, there),
    )


def triples(family: Family, kind: str, rng: random.Random) -> list[tuple[int, int, int]]:
    """Triples of a kind, all or MOST of them at random."""
    every = list(_PATTERNS[kind](family))
    return every if len(every) <= MOST else rng.sample(every, MOST)


def _grandparents(family: Family) -> Iterator[tuple[int, int, int]]:
    for parent, child in family.edges:
        above = int(family.parents[parent])
        if above >= 0:
            yield above, parent, child


def _siblings(family: Family) -> Iterator[tuple[int, int, int]]:
    for (p, c), (q, d) in combinations(family.edges, 2):
        if p == q:
            yield p, c, d


def _with_stranger(family: Family) -> Iterator[tuple[int, int, int]]:
    for parent, child in family.edges:
        for other in np.flatnonzero(family.tree != family.tree[parent]).tolist():
            yield parent, child, other


def _strangers(family: Family) -> Iterator[tuple[int, int, int]]:
    for a, b, c in combinations(range(len(family.tree)), 3):
        if len({int(family.tree[k]) for k in (a, b, c)}) == 3:
            yield a, b, c


_PATTERNS = {
    "GPC": _grandparents,
    "PC2": _siblings,
    "PCS": _with_stranger,
    "S3": _strangers,
}


def _papers(part: Family, layers: str) -> Indices:
    m = chosen(part, layers)
    return paper.triplet(paper.ft_distance(m), kurtosis(m), part.grows, THRESHOLD)


def _text(table: Table, splits: list[str]) -> str:
    def shares(figure: str, split: str, kind: str, method: str) -> str:
        wanted = {"split": split, "kind": kind, "method": method}
        seeds = sorted(set(table.of("seed", **wanted)))
        return spread(mean(table.of(figure, seed=s, **wanted)) for s in seeds)

    rows = []
    for split in splits:
        for kind, meaning in KINDS.items():
            drawn = table.of("right", split=split, kind=kind, method="ours")
            if not drawn:
                continue

            rows.append(
                [split, f"{kind}: {meaning}", len(drawn)]
                + [shares("right", split, kind, method) for method in ("paper", "ours")]
                + [shares("without_direction", split, kind, method) for method in ("paper", "ours")]
            )
    head = ["split", "graph", "triples", "paper", "ours"]
    return markdown([*head, "paper, without direction", "ours, without direction"], rows) + (
        "\n\nShares of triples, ± standard deviations over seeds. A kind that a split can't show "
        "(three strangers need three roots) has no line."
    )


def _picture(table: Table, splits: list[str]) -> Figure:
    with panels(1, len(splits)) as (figure, axes):
        for ax, split in zip(axes, splits, strict=True):
            kinds = [k for k in KINDS if table.of("right", split=split, kind=k)]
            bars(
                ax,
                kinds,
                {
                    m: [mean(table.of("right", split=split, kind=k, method=m)) for k in kinds]
                    for m in ("paper", "ours")
                },
                {},
            )
            ax.set(title=split, ylim=(0, 1.05))
        axes[0].set_ylabel("share of triples right")
        legend_below(figure, axes[0])
    return figure
