"""What is said of each kind beside its family, and what the kind does to the family."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mother
from experiments.lab.kinds import BESIDE, KINDS, Kind
from experiments.lab.models import FAMILY
from mother.graph import Edge

CHILD = "x"
SURE = 0.8
EITHER = ("contains", "duplicate", "converted")


@dataclass(frozen=True)
class Score:
    """said: the recovered parents, with relation and probability. parent: whether they are the
    right ones; relation: whether it is one that may be said. wrong: whether a wrong parent is
    claimed with more than SURE. others: edges among the family that are there with the kind alone
    or without it alone."""

    kind: Kind
    read: bool
    said: str
    parent: bool
    relation: bool
    wrong: bool
    others: tuple[str, ...]


def made(folder: Path, names: Iterable[str]) -> None:
    """Make the kinds of these names beside the family; what is there is kept."""
    for name in names:
        path = folder / "kinds" / name.replace(" ", "_")
        if path.exists():
            continue
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            KINDS[name].make(folder / "family", partial)
        except Exception as fault:  # of a tool: the other kinds can be made
            print(f"not made: {name}: {fault!r}"[:200], file=sys.stderr)
            shutil.rmtree(partial, ignore_errors=True)
            continue
        partial.rename(path)


def scores(folder: Path, names: Iterable[str]) -> Iterator[Score]:
    """One of each kind that was made."""
    family = [folder / "family" / name for name in FAMILY]
    alone = _edges(mother.recover(family, bootstrap=0))
    for name in names:
        path = folder / "kinds" / name.replace(" ", "_")
        if not path.exists():
            continue
        beside = sorted(path.glob(f"{BESIDE}/*"))
        without = _edges(mother.recover([*family, *beside], bootstrap=0)) if beside else alone
        yield _score(KINDS[name], path, [*family, *beside], without)


def _score(kind: Kind, path: Path, family: list[Path], alone: set[tuple[str, str]]) -> Score:
    with tempfile.TemporaryDirectory() as place:
        child = Path(place) / CHILD
        child.mkdir()
        for part in path.iterdir():
            if part.name != BESIDE:
                (child / part.name).symlink_to(part.resolve())
        graph = mother.recover([*family, child], bootstrap=0)
    read = any(node.id == CHILD for node in graph.nodes)
    edges = [e for e in graph.edges if e.child == CHILD]
    # of two that hold the same, and that nothing orders, either may stand first
    edges += [_turned(e) for e in graph.edges if e.parent == CHILD and e.relation in EITHER]
    parents = [e.parent for e in edges]
    true = set(kind.parents)
    right = set(parents) == true
    if "adapter" in kind.relations and len(true) > 1:  # any model of the family
        right = bool(parents) and set(parents) <= true
    elif any(
        e.relation == "merge" for e in edges
    ):  # a base whose share is shown, too, is no mistake
        right = true <= set(parents) <= {*true, "base"}
    told = [f"{e.parent} {e.relation} {e.share or e.direction_probability or ''}" for e in edges]
    allowed = {*true, "base"} if true else set[str]()
    wrong = any(
        _claimed(e) > SURE and not e.undirected
        for e in graph.edges
        if (e.child == CHILD and e.parent not in allowed) or e.parent == CHILD
    )
    found = {e for e in _edges(graph) if CHILD not in e}
    changed = tuple(sorted(f"{p} -> {c}" for p, c in found ^ alone))
    relation = all(e.relation in kind.relations for e in edges) and bool(edges or not true)
    return Score(kind, read, "; ".join(told) or "no parent", right, relation, wrong, changed)


def _claimed(edge: Edge) -> float:
    """The probability that it is as the edge says."""
    if edge.probabilities is not None:
        return edge.probabilities.parent
    return edge.direction_probability or 0.0


def _turned(edge: Edge) -> Edge:
    return replace(edge, parent=edge.child, child=edge.parent)


def _edges(graph: mother.ModelGraph) -> set[tuple[str, str]]:
    return {(e.parent, e.child) for e in graph.edges} | set(graph.hidden_edges())


def page(found: list[Score]) -> str:
    """The scoreboard."""
    lines = [
        "| kind | by | half | parents | found | parent | relation | sure and wrong | changed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for s in found:
        marks = ["yes" if x else "**no**" for x in (s.parent, s.relation)]
        wrong = "**yes**" if s.wrong else "no"
        told = (", ".join(s.kind.parents), s.said if s.read else "not read", *marks, wrong)
        lines.append(
            f"| {s.kind.name} | {s.kind.source} | {s.kind.half} | {' | '.join(told)} |"
            f" {', '.join(s.others) or '-'} |"
        )
    return "\n".join(lines) + "\n"
