"""The kinds of copies that the default method looks for, in this order: what one finds, the next
passes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mother.copies.compressed import find_compressed
from mother.copies.duplicates import Duplicate
from mother.copies.edited import find_edited
from mother.copies.folded import find_folded
from mother.copies.mapped import find_mapped
from mother.copies.partial import find_partial
from mother.copies.resized import find_resized
from mother.copies.scaled import find_scaled
from mother.copies.shaped import find_shaped
from mother.layouts import Group
from mother.measures import Measures


@dataclass(frozen=True)
class Models:
    """Those of one architecture, as copies are looked for among them.

    stored: with all their rows. seen: with what `measures` are of, rows that all have, or windows
    of them. whole: the same layers whole, where `seen` has windows; else None.
    """

    stored: Group
    seen: Group
    measures: Measures
    whole: Group | None = None


Find = Callable[[Models, Sequence[Duplicate]], list[Duplicate]]


@dataclass(frozen=True)
class Kind:
    """find: those among models, beside those known before. suggested: whether windows of models
    only suggest it, and all weights of two have to confirm."""

    name: str
    find: Find
    suggested: bool


KINDS: dict[str, Kind] = {}


def register(name: str, find: Find, *, suggested: bool = False) -> None:
    """Let a kind of copies take part, after those that do already."""
    KINDS[name] = Kind(name, find, suggested)


def _folded(x: Models, known: Sequence[Duplicate]) -> list[Duplicate]:
    return find_folded(x.seen if x.whole is None else x.whole, known)


register("compressed", lambda x, known: find_compressed(x.seen, x.measures, known), suggested=True)
register("scaled", lambda x, known: find_scaled(x.seen, x.measures, known), suggested=True)
register("folded", _folded)
register("mapped", lambda x, known: find_mapped(x.seen, x.measures, known, x.whole))
register("shaped", lambda x, known: find_shaped(x.seen, x.measures, known, x.whole))
register("edited", lambda x, known: find_edited(x.seen, x.measures, known, x.whole), suggested=True)
register("resized", lambda x, known: find_resized(x.stored, x.measures, known), suggested=True)
register("partial", lambda x, known: find_partial(x.seen, x.measures, known, x.whole))


def copies_among(
    x: Models,
    known: Sequence[Duplicate],
    held: Callable[[Find, list[Duplicate]], list[Duplicate]] = lambda find, found: found,
) -> list[Duplicate]:
    """All copies among models, those known before first. held: of some that are only suggested,
    those that all weights confirm."""
    out = [*known]
    if len(x.seen.checkpoints) < 2:
        return out
    for kind in KINDS.values():
        some = kind.find(x, out)
        out += held(kind.find, some) if kind.suggested else some
    return out
