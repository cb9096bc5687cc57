"""The models of one architecture: copies among them, their measures, their forest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mother.copies.duplicates import Duplicate, originals
from mother.copies.registry import Models, copies_among
from mother.copies.unlike import find_unlike
from mother.errors import UsageError
from mother.evidence.looks import Look
from mother.evidence.merges import Merged
from mother.evidence.pieces import sampled
from mother.graph.assembly import Part
from mother.layouts import Group
from mother.layouts.common_rows import with_common_rows
from mother.measures import Measures, measure
from mother.measures.comparable import finite_layers
from mother.measures.formats import roundings
from mother.measures.products import Source
from mother.methods import adaptive, gram
from mother.methods import paper as mother
from mother.methods.refinement import Refinement
from mother.methods.scores import SCORES
from mother.options import MANY, Options
from mother.sketches.levels import Doubt
from mother.sketches.samples import samples_of
from mother.trees.engine import Pair
from mother.trees.forest import Forest, no_edges


def recover_group(
    group: Group,
    lossy: Sequence[Duplicate],
    options: Options,
    report: Callable[[int], None] | None,
    refinement: Refinement | None,
) -> Part:
    paper = options.method == "mother"
    if options.layers is not None:
        group = group.over(re.search(options.layers, x.name) is not None for x in group.layers)
    large = len(group.checkpoints) > MANY and _is_sketched(group)
    if large and not paper and options.trees is None:
        return _recover_many(group, lossy, options, refinement)
    stored = group
    if not paper:
        group = with_common_rows(group)
    if not paper and not options.exact and refinement is None and adaptive.pays(group):
        part = _by_windows(stored, group, lossy, options)
        if part is not None:
            return part
    measures = measure(
        group,
        # ranks of one tree need neither l-infinity nor l1, and only clusters need l1
        distances=paper and (options.distance != "lora" or options.trees != 1),
        l1=options.trees != 1,
        moments=True,
        entropy=paper and options.score == "entropy",
        threads=options.workers,
        memory=options.memory,
        progress=report,
    )
    usable = finite_layers(group, measures)
    group, measures = group.over(usable), measures.over(usable)
    n = len(group.checkpoints)
    if not paper:
        lossy = copies_among(Models(stored, group, measures), lossy)
    _check_trees(n - len(lossy), options)
    if n == 1 or not group.layers:
        return Part(group, no_edges(n), measures)
    if paper:
        stages = [options.stages.get(c.id, options.stage) for c in group.checkpoints]
        forest = mother.recover(
            group,
            measures,
            generalization=np.array([stage == "generalization" for stage in stages]),
            score=SCORES[options.score],
            distance=options.distance,
            trees=options.trees,
            c=options.c,
            seed=options.seed,
            threads=options.workers,
        )
        return Part(group, forest, measures)
    return _by_default(group, measures, lossy, options, refinement)


def _by_windows(
    stored: Group, whole: Group, lossy: Sequence[Duplicate], options: Options
) -> Part | None:
    """The same of large models by the default method, from windows of their layers first; None
    where most of them would have to be read in full, or where there is a merge. stored: the group
    before rows were left out.
    """
    looked = adaptive.Adaptive(stored, whole, options.workers)
    copies: list[Duplicate] | None = None
    *_, last = levels = looked.levels
    for at in levels:
        sketches = looked.seen(at)
        measures = measure(sketches, moments=True, threads=options.workers)
        usable = finite_layers(replace(sketches, checkpoints=whole.checkpoints), measures)
        group, sketches, measures = whole.over(usable), sketches.over(usable), measures.over(usable)
        seen = replace(sketches, checkpoints=group.checkpoints)
        if copies is None:
            copies = copies_among(Models(stored, seen, measures, group), lossy, looked.held)
        _check_trees(len(group.checkpoints) - len(copies), options)
        refinement = looked.refinement(last=at is last)
        part = _by_default(sketches, measures, copies, options, refinement, group)
        if part.merges:  # which of two near models was merged, windows are too small to tell
            return None
        if not part.doubts:
            break
    return replace(part, group=seen, in_part=True) if looked.settled else None


def _check_trees(most: int, options: Options) -> None:
    if options.trees is not None and options.trees > most:
        raise UsageError(f"trees={options.trees}, but there are only {most} different models")


def _by_default(
    group: Group,
    source: Source,
    lossy: Sequence[Duplicate],
    options: Options,
    refinement: Refinement | None,
    whole: Group | None = None,
) -> Part:
    """What the default method finds, from larger sketches where decisions ask for them. whole: the
    models of a group of sketches as they are stored, which `lossy` are of, where they are here."""
    looks, doubts = [Look.of(group)], list[Doubt]()
    original = originals(whole or group, [d for d in lossy if d.relation])
    leaves = originals(whole or group, [d for d in lossy if not d.relation])
    merged = None
    if isinstance(source, Measures):
        among, weights = (original < 0) & (leaves < 0), sampled(whole or group)
        merged = Merged.of(source, roundings(group), among, weights).beside(leaves)
        models = (whole or group).checkpoints
        unlike = find_unlike(
            replace(group, checkpoints=models), source, among & (merged.parent < 0), weights
        )
        merged = merged.beside(originals(whole or group, unlike), loose=True)
        lossy = [*lossy, *unlike]

    def decide(
        source: Source,
        looks: Sequence[Look],
        *,
        apart: Pair | None = None,
        off: int | None = None,
        figures: bool = True,
        replicates: int = 0,
    ) -> Forest:
        return gram.recover(
            source,
            looks,
            replicates=replicates,
            seed=options.seed,
            trees=options.trees,
            original=original,
            apart=apart,
            merged=merged,
            off=off,
            figures=figures,
            threads=options.workers,
        )

    if refinement is not None:
        told = options.trees is None
        done = refinement.refined(
            group,
            source,
            decide,
            options.workers,
            families=told,
            tied=_tied(original),
            beside=[] if whole is None else [Look.of(whole, ranks=True)],
        )
        source, looks, forest, doubts = done.source, list(done.looks), done.forest, done.doubts
    if refinement is None or options.bootstrap:
        forest = decide(source, looks, replicates=options.bootstrap)
    merges = () if merged is None else merged.merges
    return Part(group, forest, source, (), tuple(lossy), tuple(doubts), tuple(looks[1:]), merges)


def _tied(original: NDArray[np.intp]) -> list[frozenset[int]]:
    """Copies together with their originals. original: (n,), -1 for what is no copy."""
    several: dict[int, set[int]] = {}
    for copy in np.flatnonzero(original >= 0).tolist():
        first = copy
        while original[first] >= 0:
            first = int(original[first])
        several.setdefault(first, {first}).add(copy)
    return [frozenset(some) for some in several.values()]


def _is_sketched(group: Group) -> bool:
    return any(t.sample is not None for t in group.checkpoints[0].tensors.values())


def _recover_many(
    group: Group, lossy: Sequence[Duplicate], options: Options, refinement: Refinement | None
) -> Part:
    """The same from sketches of too many models for matrices: from the layers that all have, finite
    in all, each model compared with those near to it."""
    many = len(group.checkpoints)
    group = group.over(len(layer.members) == many for layer in group.layers)
    samples = samples_of(group)
    finite = samples.finite()
    group, samples = group.over(finite), samples.over(finite)
    if not finite.any():
        return Part(group, no_edges(many), samples, lossy=tuple(lossy))
    return _by_default(group, samples, lossy, options, refinement)
