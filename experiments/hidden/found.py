"""What is found of nets of many wirings under other labels, and its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mother
from experiments.hidden.wirings import WIRINGS, Weights, relabelled, trained

APART = ("strangers", "no kinship found", "unknown")
STEPS = {"1 %": {"steps": 20, "rate": 1e-4}, "10 %": {"steps": 60, "rate": 1e-3}}

_HEAD = """# Kinship under other labels, whatever the wiring

Written by `python -m experiments wirings`. Small nets, each of another wiring, trained on
scikit-learn's digits. A base, two children of it on other classes, by about 1 and 10 % of their
norm, and a net from another seed. All units of one model are put into another order, with gates,
joined maps, heads and experts, running statistics too; its function stays. Undone: `mother compare`
says the same distance from the base as with nothing hidden, to a thousandth. Edges as before: a
folder of the base, both children and the other net gives the same edges as with nothing hidden. The
way was mended on such nets: they judge nothing. How it works is in
[method.md](../method.md#under-other-labels).

| net | weights | the copy is | 1 %: kin | undone | edges as before | 10 %: kin | undone | \
edges as before | other seed, under other labels |
|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """Of a net: what its copy under other labels is said to be; of each child whether kin is found,
    what hid it undone, and edges as with nothing hidden; and what a stranger is said to be."""

    kind: str
    weights: int
    copy: str
    children: tuple[tuple[bool, bool, bool], ...]
    stranger: str


def rows() -> Iterator[Row]:
    """One of each kind of net."""
    for kind in WIRINGS:
        base, other = trained(kind, 0), trained(kind, 1)
        kids = {
            step: trained(kind, 2 + k, base, task=1 + k, **how)  # type: ignore[arg-type]
            for k, (step, how) in enumerate(STEPS.items())
        }
        models = {"base": base, **kids, "other": other}
        plain = _edges(models)
        found = []
        for step, own in kids.items():
            hidden = relabelled(kind, own, 7)
            told, before = mother.compare(base, hidden), mother.compare(base, own)
            same = abs((told.distance or 0.0) - (before.distance or 0.0)) < 1e-3
            same &= told.relation == before.relation
            again = _edges({**models, step: hidden})
            found.append((told.relation not in APART, same, again == plain))
        copy = mother.compare(base, relabelled(kind, base, 7)).relation
        stranger = mother.compare(base, relabelled(kind, other, 7)).relation
        yield Row(kind, sum(w.size for w in base.values()), copy, tuple(found), stranger)


def _edges(models: dict[str, Weights]) -> set[tuple[bool, str, str]]:
    graph = mother.recover(models, bootstrap=0)
    ends = ((e.undirected, e.parent, e.child) for e in graph.edges)
    return {(open_, *(sorted(two) if open_ else two)) for open_, *two in ends}


def page(found: list[Row]) -> str:
    """The page in Markdown."""
    lines = [_HEAD.rstrip("\n")]
    for row in found:
        told = " | ".join("yes" if x else "no" for child in row.children for x in child)
        lines.append(f"| {row.kind} | {row.weights:,} | {row.copy} | {told} | {row.stranger} |")
    return "\n".join(lines) + "\n"
