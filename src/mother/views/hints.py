"""What files say beside the weights, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mother.graph import Hint, ModelGraph
from mother.names import counted, printable, shortened

HEADING = (
    "not from the weights, but what files say (anyone can write it, and copying changes dates):"
)


def hints(graph: ModelGraph, longest: int | None = None) -> Iterator[str]:
    """All hints of a graph under a heading, a run's in the order of its steps; nothing if it has
    none. longest: letters of a name, of which the middle is left out."""
    if graph.hints:
        yield ""
        yield HEADING
    for hint in sorted(graph.hints, key=lambda hint: counted(hint.model)):
        hint = hint if longest is None else _short(hint, longest)
        yield f"  {printable(hint.model)}: {said(hint)}"


def _short(hint: Hint, longest: int) -> Hint:
    return replace(
        hint,
        model=shortened(hint.model, longest),
        source=shortened(hint.source, longest),
        says=shortened(hint.says, longest),
        parent=None if hint.parent is None else shortened(hint.parent, longest),
    )


def said(hint: Hint) -> str:
    """A hint in words.

    >>> said(Hint("b", "claim", "b/README.md", "base_model: org/a", "a", False))
    'claim base_model: org/a (b/README.md): the tree disagrees, it does not come from a there'
    >>> said(Hint("b", "date", "b.npz", "2024-05-01T12:00:00Z", "a", True))
    'date 2024-05-01T12:00:00Z (b.npz): agrees, later than its parent a'
    """
    parent = printable(hint.parent) if hint.parent is not None else None
    return (
        f"{printable(hint.kind)} {printable(hint.says)} ({printable(hint.source)}): "
        f"{_verdict(hint, parent)}"
    )


def _verdict(hint: Hint, parent: str | None) -> str:
    if hint.kind == "date":
        if parent is None:
            return "no parent to compare it with"
        if hint.agrees is None:
            return f"tells nothing of {parent}"
        return (
            f"agrees, later than its parent {parent}"
            if hint.agrees
            else f"disagrees, earlier than its parent {parent}"
        )
    if parent is None:
        return "unknown, it names none of the other inputs, or several"
    if hint.agrees is None:
        return f"unknown, the weights don't tell whether it comes from {parent}"
    return (
        f"the tree agrees, it comes from {parent} there"
        if hint.agrees
        else f"the tree disagrees, it does not come from {parent} there"
    )
