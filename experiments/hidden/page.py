"""The page of what was found, from its rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from experiments.wild.page import made_by

Again = tuple[str, str, str, bool, bool, bool, bool]
Method = tuple[str, float, float, float]
Placed = tuple[str, int, int, float]
Cost = tuple[float, float, float]

_HEAD = """# Kinship under other labels

Small nets: a decoder (grouped keys, rotary positions, gated neurons) and an encoder on text of a
Debian system, a ViT and a CNN on scikit-learn's digits. How the test works is in
[method.md](../method.md#under-other-labels); what it says of strangers, and how its p is
distributed, on [a page of its own](chance.md).
"""


def page(
    again: Sequence[Again],
    methods: Sequence[Method],
    seeds: dict[str, str],
    placed: tuple[int, Sequence[Placed]],
    costs: Sequence[Cost],
) -> str:
    """The page in Markdown."""
    lines = [_HEAD.rstrip("\n")]
    if seeds:
        said = ", ".join(f"{kind}: {what}" for kind, what in sorted(seeds.items()))
        lines += [
            "",
            f"Two trainings from one seed, one of them relabelled, are said to be: {said}.",
        ]
    if again:
        lines += ["", "## Hidden children", "", _AGAIN]
    cells: dict[tuple[str, str], list[Again]] = defaultdict(list)
    for row in again:
        cells[row[0], row[2]].append(row)
    for (kind, step), rows in cells.items():
        lines.append(f"| {kind} | {step} | {' | '.join(map(str, _counts(rows)))} |")
    for kind in dict.fromkeys(row[0] for row in again):
        rows = [row for row in again if row[0] == kind]
        total = " | ".join(f"**{x}**" for x in _counts(rows))
        lines.append(f"| {kind} | **all** | {total} |")
    missed = [f"{r[0]}, {r[1]}, {r[2]}" for r in again if r[5] and not r[4]]
    if missed:
        lines += ["", "Right with nothing hidden and not when hidden: " + "; ".join(missed) + "."]
    lines += ["", "## Beside other methods", "", _METHODS]
    for name, area, turned, spent in methods:
        lines.append(f"| {name} | {area:.3f} | {turned:.3f} | {spent:.1f} |")
    many, rows = placed
    lines += ["", "## In an index", "", _INDEX.format(many=many)]
    lines += [f"| {kind} | {n} | {right} | {spent:.1f} |" for kind, n, right, spent in rows]
    lines += ["", "## What it costs", "", _COST]
    for step, whole, spent in costs:
        share = 100 * spent / (whole - spent)
        lines.append(f"| {100 * step:.0f} % | {whole:.1f} | {spent:.2f} | {share:.1f} % |")
    return "\n".join([*lines, "", made_by("python -m experiments hidden")]) + "\n"


def _counts(rows: Sequence[Again]) -> tuple[int, ...]:
    kin, right, plain, wrong = (sum(row[k] for row in rows) for k in (3, 4, 5, 6))
    return len(rows), kin, right, plain, sum(row[4] and row[5] for row in rows), wrong


_AGAIN = """A base, a child, and a second child under other labels, by each of the relabellings
that leave the function of its kind as it is, and all at once. Children changed by about 1 or 10
% of their weights' norm in training on other data; some were rounded after that. The last
columns are how often the parent is right with nothing hidden, and in how many of these it is so
when hidden: what is lost to relabelling is the difference of the two. Such small nets, trained
so briefly, do not always tell their parent to begin with, and a rounded model whose original is
not there hangs from its nearest relative. Told and wrong: an edge of the hidden model that is not
open, and not from its parent.

| net | change | hidden | kin found | parent right | right with nothing hidden | of these right | \
told and wrong |
|---|---|---|---|---|---|---|---|"""

_INDEX = """Bases and children in an index with {many:,} strangers of their architecture, whose
signatures and labels are drawn at random; second children, by 1 and by 10 %, under all other
labels at once, are placed (`mother index place`). Right: they hang from their base. Seconds are of
one processor.

| net | hidden | parent right | s a model |
|---|---|---|---|"""

_COST = """105 ViTs of 2 million weights in five trees, each child its parent with so much noise,
relative to its weights: processor time to recover them, and of it to look for hidden kin. None is
hidden.

| step | recover, s | of it for hidden kin, s | added |
|---|---|---|---|"""

_METHODS = """The decoder's children under other labels against strangers, the same pairs for
all: area under the curve, the same for rotated streams alone, and processor time of one core a
pair. Baselines (experiments/hidden/baselines.py) follow what is known of their papers; they
were not checked against code of their authors. None of them gives direction.

| method | AUC | AUC, rotated | ms a pair |
|---|---|---|---|"""
