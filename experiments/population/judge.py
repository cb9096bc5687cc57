"""How right, and how sure, the default method is on trees of the population."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mother
from experiments.figures.calibration import calibration_error
from experiments.figures.pages import markdown

SURE = (0.9, 0.99)


@dataclass(frozen=True)
class Found:
    """An edge that was found. right: whether the parent is the nearest ancestor that is given.
    reverse: whether the child is the parent's."""

    half: str
    kind: str
    optimizer: str
    open: bool
    direction: float
    parent: float
    right: bool
    reverse: bool


@dataclass(frozen=True)
class Family:
    """What was found of one tree. joined, right: true edges that were found, and with their
    direction; hidden: groups of three and more children of a model that is missing, and how many
    of these were found; invented: whether an ancestor was where none is missing."""

    half: str
    kind: str
    true: int
    joined: int
    right: int
    told: int
    hidden: int
    hidden_found: int
    whole: bool
    invented: bool
    edges: tuple[Found, ...]


def judged(folder: Path) -> Family:
    """One tree, recovered from its folder."""
    graph = mother.recover(folder, bootstrap=0, threads=1)
    truth, plan = (json.loads((folder / f"{n}.json").read_text()) for n in ("truth", "plan"))
    half, kind = plan["half"], plan["shape"]["kind"]
    how = {i: t for t in plan["trainings"] for i in t["ids"]}
    nearest = _nearest(plan)
    edges = tuple(
        Found(
            half,
            kind,
            how[e.child]["optimizer"],
            e.undirected,
            e.direction_probability or 0.0,
            e.probabilities.parent if e.probabilities else 0.0,
            nearest.get(e.child) == e.parent,
            nearest.get(e.parent) == e.child,
        )
        for e in graph.edges
        if e.probabilities is not None
    )
    true = {tuple(e) for e in truth["edges"]}
    found = {(e.parent, e.child): e for e in graph.edges}
    loose = set(map(frozenset, found))
    groups = [set(g) for g in truth["hidden"] if len(g) > 2]
    hidden = [set(h.children) for h in graph.hidden]
    return Family(
        half,
        kind,
        len(true),
        sum(frozenset(e) in loose for e in true),
        len(true & found.keys()),
        sum(e in found and not found[e].undirected for e in true),
        len(groups),
        sum(any(len(g & h) > 1 for h in hidden) for g in groups),
        not truth["hidden"],
        not truth["hidden"] and bool(hidden),
        edges,
    )


def _nearest(plan: dict[str, Any]) -> dict[str, str | None]:
    """Of each model that is given, the nearest ancestor that is, too."""
    above: dict[str, str | None] = {}
    for t in plan["trainings"]:
        above |= dict(zip(t["ids"], (t["parent"], *t["ids"]), strict=False))
    missing = set(plan["missing"])

    def given(model: str) -> str | None:
        up = above[model]
        while up is not None and up in missing:
            up = above[up]
        return up

    return {model: given(model) for model in above if model not in missing}


def folders(data: Path) -> list[Path]:
    """The trees that are built."""
    return sorted(p.parent for p in data.glob("[0-9]*/truth.json"))


def page(families: Sequence[Family], command: str) -> str:
    """The figures as a page."""
    rows = [_row("**all**", families)]
    for half in ("fit", "judge"):
        rows.append(_row(f"**{half}**", [f for f in families if f.half == half]))
    for kind in sorted({f.kind for f in families}):
        rows.append(_row(kind, [f for f in families if f.kind == kind]))
    head = ["trees", "true edges", "joined", "right", "right and told", "told", "of these right"]
    by_optimizer = [
        _sure(o, [e for f in families for e in f.edges if e.optimizer == o])
        for o in sorted({e.optimizer for f in families for e in f.edges})
    ]
    halves = [
        _sure(half, [e for f in families if f.half == half for e in f.edges])
        for half in ("fit", "judge")
    ]
    whole = [f for f in families if f.whole]
    return (
        "\n\n".join(
            [
                "# A population of trainings",
                QUESTION.strip(),
                f"`{command}`",
                markdown(["kind", *head], rows),
                "## How sure, and how often right",
                markdown(SURE_HEAD, [*halves, *by_optimizer]),
                "## Ancestors that are not there",
                f"Invented in {sum(f.invented for f in whole)} of {len(whole)} trees that miss "
                f"none. Found in {sum(f.hidden_found for f in families)} of "
                f"{sum(f.hidden for f in families)} groups of three and more children of a missing "
                "model.",
            ]
        )
        + "\n"
    )


QUESTION = """
Small trees drawn at random (experiments/population): architecture, initialization, optimizer, rate,
decay, schedule, steps, tasks, frozen layers, new heads, low rank, preferences, averages, number
formats, missing models, chains from an initialization on. One half was fitted on; the other has
other architectures and other optimizers, and nothing was chosen on it. *Joined*: the two models of
a true edge are joined. *Right*: with their direction. *Told*: edges of which the graph says that
the direction is known; an edge to the nearest ancestor that is given counts as right. A direction
is told of two models that are joined: it is *reversed* where the child is the parent's parent, and
*no edge* where neither is the other's parent, which `probabilities` are about.
"""
SURE_HEAD = [
    "edges of",
    "all",
    "error of P(parent)",
    "P(parent) above 0.9",
    "wrong",
    "direction told above 0.9",
    "reversed",
    "no edge",
    "above 0.99",
    "reversed",
    "no edge",
]


def _row(name: str, families: Sequence[Family]) -> list[object]:
    def total(of: Callable[[Family], int]) -> int:
        return sum(map(of, families))

    true = total(lambda f: f.true) or 1
    told = [e for f in families for e in f.edges if not e.open]
    return [
        name,
        len(families),
        total(lambda f: f.true),
        f"{total(lambda f: f.joined) / true:.3f}",
        f"{total(lambda f: f.right) / true:.3f}",
        f"{total(lambda f: f.told) / true:.3f}",
        len(told),
        f"{_share(e.right for e in told):.3f}",
    ]


def _share(of: Iterable[bool]) -> float:
    every = list(of)
    return sum(every) / len(every) if every else float("nan")


def _sure(name: str, edges: Sequence[Found]) -> list[object]:
    row: list[object] = [
        name,
        len(edges),
        f"{calibration_error([e.parent for e in edges], [e.right for e in edges]):.3f}",
    ]
    sure = [e for e in edges if e.parent > SURE[0]]
    row += [len(sure), sum(not e.right for e in sure)]
    for least in SURE:
        told = [e for e in edges if not e.open and e.direction > least]
        row += [len(told), sum(e.reverse for e in told)]
        row.append(sum(not (e.right or e.reverse) for e in told))
    return row
