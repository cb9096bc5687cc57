"""Why a value is inferred: which relatives state it, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mother.attributes.pedigree import Array, Indices, Pedigree
from mother.names import printable

NOBODY = "no relative states it"
LONGEST = 40  # letters of another value that is told


class Kin:
    """Who is whose parent, sibling and child among a pedigree's models."""

    def __init__(self, pedigree: Pedigree) -> None:
        self.parent = pedigree.first_parent
        self.models = pedigree.models
        self.rows = pedigree.rows
        self.family = pedigree.family[: self.models]

    def votes(self, codes: Indices, wanted: Indices, at: Indices) -> Indices:
        """(at, 9): the parent's own code (-1: states nothing), how many siblings state the code
        that is wanted and how many state any, the same of children, of the family, and the parents'
        number (0 or 1) and whether it states the code.

        codes: (models,) what is stated, or -1; wanted: (at,) codes; at: models, which state
        nothing.
        """
        top = int(codes.max(initial=0)) + 1
        told = np.flatnonzero(codes >= 0)
        below = told[self.parent[told] >= 0]
        by_parent = _Counts(self.parent[below], codes[below], top)
        by_family = _Counts(self.family[told], codes[told], top)
        parent = self.parent[at]
        above = np.where((parent >= 0) & (parent < self.models), parent, -1)
        says = np.where(above >= 0, codes[above], -1)
        columns = [says]
        for counts, group in ((by_parent, parent), (by_parent, at), (by_family, self.family[at])):
            columns += [counts.of(group, wanted), counts.all(group)]
        columns += [(above >= 0).astype(np.intp), (says == wanted) & (says >= 0)]
        return np.stack(columns, axis=1).astype(np.intp)

    def ranges(self, numbers: Array, at: Indices) -> list[str]:
        """For each model what its parent, siblings and children state, from least to most."""
        told = np.flatnonzero(np.isfinite(numbers))
        below = told[self.parent[told] >= 0]
        order = np.argsort(self.parent[below], kind="stable")
        group, values = self.parent[below][order], numbers[below][order]
        groups, start, many = np.unique(group, return_index=True, return_counts=True)
        low, high = (
            (f.reduceat(values, start) for f in (np.minimum, np.maximum))
            if len(groups)
            else (values, values)
        )
        place = {int(g): k for k, g in enumerate(groups)}
        out = []
        for model in at.tolist():
            said = []
            parent = int(self.parent[model])
            if 0 <= parent < self.models and np.isfinite(numbers[parent]):
                said.append(f"its parent {numbers[parent]:.4g}")
            for who, row in (("sibling", parent), ("child", model)):
                k = place.get(row)
                if k is not None:
                    said.append(_range(who, int(many[k]), float(low[k]), float(high[k])))
            out.append("; ".join(said) or "relatives further away")
        return out


class _Counts:
    """How often each code stands in each group, and how many codes do."""

    def __init__(self, group: Indices, codes: Indices, top: int) -> None:
        self.top = top
        self.pairs, self.times = np.unique(group * top + codes, return_counts=True)
        self.groups, self.many = np.unique(group, return_counts=True)

    def of(self, group: Indices, codes: Indices) -> Indices:
        return _looked_up(
            self.pairs, self.times, np.where(group >= 0, group * self.top + codes, -1)
        )

    def all(self, group: Indices) -> Indices:
        return _looked_up(self.groups, self.many, group)


def _looked_up(keys: Indices, values: Indices, wanted: Indices) -> Indices:
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.intp)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def _range(who: str, many: int, low: float, high: float) -> str:
    if many == 1:
        return f"a {who} {low:.4g}"
    word = {"child": "children"}.get(who, f"{who}s")
    return f"{many} {word} {low:.4g} to {high:.4g}" if low < high else f"{many} {word} {low:.4g}"


def sentences(votes: Indices, wanted: Indices, names: Sequence[str]) -> list[str]:
    """One for each row of votes: "its parent and 3 of 4 siblings say mit"."""
    rows = np.column_stack([votes, wanted])
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    said = [_sentence(*row, name=lambda k: printable(names[k])) for row in distinct.tolist()]
    return [said[k] for k in which.ravel().tolist()]


def _sentence(
    parent: int,
    sibling: int,
    siblings: int,
    child: int,
    children: int,
    relative: int,
    relatives: int,
    parents: int,
    agrees: int,
    wanted: int,
    *,
    name: Callable[[int], str],
) -> str:
    """As the columns of `Kin.votes`, and the value that is wanted."""
    value = name(wanted)
    who = ["its parent"] if agrees else []
    who += [_of(sibling, siblings, "sibling", "siblings")] if sibling else []
    who += [_of(child, children, "child", "children")] if child else []
    against = []
    if parents and parent >= 0 and not agrees:
        against.append(f"its parent says {_short(name(parent))}")
    if not sibling and siblings:
        against.append(f"{_counted(siblings, 'sibling', 'siblings')} not")
    if not child and children:
        against.append(f"{_counted(children, 'child', 'children')} not")
    if who:
        verb = "says" if len(who) == 1 and (agrees or sibling + child == 1) else "say"
        named = f"{', '.join(who[:-1])} and {who[-1]}" if len(who) > 1 else who[0]
        text = f"{named} {verb} {value}"
        return text + (f"; {', '.join(against)}" if against else "")
    if relative:
        text = f"{relative} of {relatives} relatives further away say {value}"
        return text + (f"; {', '.join(against)}" if against else "")
    if relatives:
        text = f"no relative says {value}: steps like its own lead there"
        return text + (f"; {', '.join(against)}" if against else "")
    return NOBODY


def _of(some: int, every: int, one: str, many: str) -> str:
    if every == 1:
        return f"its only {one} that tells"
    return f"all {every} {many}" if some == every else f"{some} of {every} {many}"


def _counted(many: int, one: str, several: str) -> str:
    return f"1 {one}" if many == 1 else f"{many} {several}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
