"""How the p of both tests is distributed between strangers, and its page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import cauchy, kstest

from experiments.hidden.nets import Weights, blank, trained
from experiments.wild.page import made_by
from mother.checkpoints.memory import opened_one
from mother.evidence.agreement import Agreement, chance
from mother.evidence.relabelled import Relabelling, unwired, wired
from mother.evidence.unwired import Axis, axes_of, pairs_of

RATE, SEED, TOGETHER = 3e-3, 20_000, 250  # nets that are trained at once
ALPHAS = (0.05, 0.01, 0.001)
BY, WITHOUT = "by the wiring", "without a wiring"


@dataclass(frozen=True)
class Plan:
    """A kind of net, steps of its training, pairs that share no net, and others of these nets that
    do."""

    kind: str
    steps: int
    pairs: int
    others: int = 0


PLANS = (
    Plan("dense", 100, 2000),
    Plan("coder", 100, 2000),
    Plan("dense", 600, 400, 600),
    Plan("coder", 600, 100, 900),
    Plan("dense", 3000, 100, 900),
    Plan("dense", 10000, 50, 450),
    Plan("recurrent", 100, 500),
    Plan("cnn", 60, 300),
    Plan("vit", 60, 120),
    Plan("decoder", 120, 80),
)

_HEAD = """# What strangers' p is

The p of both [tests of kinship under other labels](../method.md#under-other-labels) between nets
trained on the same data by the same recipe from other seeds: on scikit-learn's digits a dense net,
one that codes its pixels (coder), a GRU, a CNN and a ViT; a decoder on text of a Debian system.
Pairs share no net, and each net has batches of its own.

- KS: Kolmogorov and Smirnov's distance from a uniform distribution, and its p, of a p in which ties
  of whole numbers are broken at random and all that is compared is combined by Cauchy (Liu and Xie
  2020). First of the one-sided test, which sees p that are too small; then of the other.
- Below: the share of pairs whose p, as it is said (the smallest of all axes times what was tried),
  is below this. Least: the smallest p that was said. Most: the largest share of an axis, of 8 units
  or more, that is placed alike in any pair; kin have half.
- Kin: pairs that are called so at the default threshold, of these and of more that share nets.

| net | steps | test | pairs | too small: KS | its p | either way: KS | its p | below 0.05 | \
0.01 | 0.001 | least | most | kin |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """Of a plan and a test: p of independent pairs, ties broken at random; of all pairs p as it is
    said, the largest share of an axis that is placed alike, and whether the pair is called kin."""

    plan: Plan
    test: str
    exact: tuple[float, ...]
    said: tuple[float, ...]
    alike: tuple[float, ...]
    kin: tuple[bool, ...]


def rows(plans: Sequence[Plan] = PLANS) -> Iterator[Row]:
    for plan in plans:
        draw = np.random.default_rng(SEED)
        nets = [opened_one(w, id=str(k)).tensors for k, w in enumerate(_nets(plan))]
        pairs = [(2 * k, 2 * k + 1) for k in range(plan.pairs)]
        drawn = draw.integers(len(nets), size=(2 * plan.others, 2)).tolist()
        shared = [(i, k) for i, k in drawn if i // 2 != k // 2][: plan.others]
        found: dict[str, list[tuple[float, Relabelling]]] = defaultdict(list)
        for i, k in (*pairs, *shared):
            if (test := wired(nets[i], nets[k])) is not None:
                found[BY].append((combined(map(counted, test.axes), draw), test))
            axes = axes_of(nets[i], nets[k])
            found[WITHOUT].append((combined(placed(axes), draw), unwired(axes)))
        for name, told in found.items():
            exact = tuple(p for p, _ in told[: plan.pairs])
            said = tuple(test.p for _, test in told)
            alike = tuple(max(x.alike / x.units for x in test.axes) for _, test in told)
            kin = tuple(test.is_kin() for _, test in told)
            yield Row(plan, name, exact, said, alike, kin)


def _nets(plan: Plan) -> Iterator[Weights]:
    for start in range(0, 2 * plan.pairs, TOGETHER):
        some = range(start, min(start + TOGETHER, 2 * plan.pairs))
        begun = [blank(plan.kind, SEED + k) for k in some]
        yield from trained(plan.kind, begun, plan.steps, RATE, SEED + start)


#: units placed alike, units, and among how many they are placed
Count = tuple[int, int, int]


def counted(axis: Agreement) -> Count:
    return axis.alike, axis.units, axis.among


def placed(axes: Sequence[Axis]) -> Iterator[Count]:
    """Of the one order it is known which units it moves; the other places these among all."""
    for x, y in pairs_of(axes):
        moved = x.order != np.arange(len(x.order))
        alike = moved & (x.order == y.order)
        yield int(alike.sum()), int(moved.sum()), y.among or len(y.order)


def combined(counts: Iterator[Count], draw: np.random.Generator) -> float:
    """The p whose distribution is uniform if placements are independent."""
    scores = []
    for alike, units, among in counts:
        below, above = (chance(alike + k, units, among) for k in (0, 1))
        scores.append(1 / np.tan(np.pi * (above + draw.random() * (below - above))))
    return float(cauchy.sf(np.mean(scores)))


def page(found: Sequence[Row]) -> str:
    """The page in Markdown."""
    lines = [_HEAD.rstrip("\n")]
    for row in found:
        plan, said = row.plan, np.array(row.said)
        one, both = (kstest(row.exact, "uniform", alternative=a) for a in ("greater", "two-sided"))
        shares = " | ".join(f"{(said < a).mean():.4f}" for a in ALPHAS)
        far = " | ".join(f"{test.statistic:.3f} | {test.pvalue:.2g}" for test in (one, both))
        lines.append(
            f"| {plan.kind} | {plan.steps} | {row.test} | {plan.pairs} | {far} | {shares} |"
            f" {said.min():.2g} | {max(row.alike):.2f} | {sum(row.kin)} of {len(row.kin)} |"
        )
    return "\n".join([*lines, "", made_by("python -m experiments chance")]) + "\n"
