"""The default method: inner products and characters; no stage labels, no number of trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mother.copies.compressed import descended
from mother.evidence import leaders
from mother.evidence.family import Family
from mother.evidence.kinds import Evidence
from mother.evidence.kinship import kinship
from mother.evidence.looks import Look
from mother.evidence.merges import Merged
from mother.evidence.registry import KINDS
from mother.measures import Measures
from mother.measures.clustering import components, groups, hierarchical_clusters
from mother.measures.products import Array, Bools, Indices, Source
from mother.methods.parted import Part, hang_parts, parts_of
from mother.sketches.samples import Samples
from mother.thresholds import LARGELY
from mother.trees.engine import NO_DISTANCE, UNKNOWN, Engine, Pair, Start
from mother.trees.forest import Forest, Hidden, no_edges
from mother.trees.odds import CERTAIN
from mother.trees.rules import RULES, Rules


def recover(
    source: Source,
    looks: Sequence[Look] = (),
    *,
    replicates: int = 0,
    seed: int = 0,
    trees: int | None = None,
    original: Indices | None = None,
    apart: Pair | None = None,
    merged: Merged | None = None,
    off: int | None = None,
    figures: bool = True,
    rules: Rules = RULES,
    threads: int = 1,
) -> Forest:
    """The forest of n models of one architecture.

    Args:
        source: where inner products of pairs come from.
        looks: the models' layers as they are held, those of all first, for evidence beside these.
        replicates, seed: bootstraps of the layers that `support` is taken from; 0 for none.
        trees: how many families there are, of models measured in pairs; found if None.
        original: (n,), what a model is known to be a compressed copy of, -1 for most.
        apart: pairs of which neither is the other's parent.
        merged: models put together from others, which take no part in the search.
        off: seed of the error that what is said of samples is off by; None for none.
        figures: whether figures of edges are wanted, or parents alone.

    >>> w = np.random.default_rng(0).normal(size=(2, 900)).astype(np.float32)
    >>> s = Samples(("w",), ((30, 30),), np.array([0, 900]), np.stack([*w, w[0] + w[1] / 9]))
    >>> recover(s).parents
    array([-1, -1,  0])
    """
    n = len(source)
    if original is None:
        original = np.full(n, -1, dtype=np.intp)
    forest, hidden = no_edges(n), list[Hidden]()
    leaf = original if merged is None else np.where(original < 0, merged.parent, original)
    for parts, rooted in _trees(source, original, trees, merged):
        # what a part says of the models of those before it, these say over
        for members, own in (part for part in reversed(parts) if len(part.members) > 1):
            part = recover_family(
                source,
                members,
                looks,
                Start(rooted, None if apart is None else _among(members, apart)),
                replicates,
                seed,
                off=off,
                figures=figures,
                rules=rules,
                threads=threads,
            )
            forest.place(part, members)
            found = [h.renumbered(members) for h in part.hidden]
            hidden += [h for h in found if set(h.children) <= set(own.tolist())]
        if len(parts) > 1:
            assert isinstance(source, Measures)
            hang_parts(source, forest, parts)
    if merged is not None:
        leaf = _settled(source, forest, leaf, merged.loose)
        _doubt_from_merged(source, forest, merged)
    _hang_leaves(source, forest, leaf)
    if replicates:
        forest.support[leaf >= 0] = 1.0
    return replace(forest, hidden=tuple(hidden))


def recover_family(
    source: Source,
    members: Indices,
    looks: Sequence[Look] = (),
    start: Start = UNKNOWN,
    replicates: int = 0,
    seed: int = 0,
    *,
    off: int | None = None,
    figures: bool = True,
    rules: Rules = RULES,
    threads: int = 1,
) -> Forest:
    """The tree of some of the models, (m,) their numbers, which are relatives; as `recover`."""
    some = source.among(members)
    family = Family.of(some, looks, members, off, vectors=rules.vectors, whitened=rules.whitened)
    if family is None:
        return alike(len(members))
    said = evidence(family, rules)
    engine = Engine(family, said, rules, start, drawn=replicates > 0, threads=threads)
    return engine.forest(replicates, seed, figures=figures)


def evidence(family: Family, rules: Rules = RULES) -> dict[str, Evidence]:
    """What the kinds of evidence that a recovery goes by say of a family."""
    kinds = KINDS.keys() if rules.kinds is None else rules.kinds
    said = {name: KINDS[name].of(family) for name in kinds}
    return {name: one for name, one in said.items() if one is not None}


def families(source: Source, trees: int | None = None) -> list[Indices]:
    """The models in groups of relatives, each ascending: chains of kinship, or `trees` groups."""
    if isinstance(source, Samples):
        return leaders.families(source)
    assert isinstance(source, Measures)
    kin = kinship(source)
    if trees is None:
        return [np.array(family, dtype=np.intp) for family in components(kin > 1)]
    np.fill_diagonal(kin, kin.max(initial=1.0))
    parts = groups(hierarchical_clusters(kin.max() - kin, k=trees))
    return [np.array(family, dtype=np.intp) for family in parts]


def _trees(
    source: Source, original: Indices, trees: int | None, merged: Merged | None
) -> Iterator[tuple[list[Part], bool]]:
    """The models of each tree, but copies and merges, in parts that have layers in common, and
    whether the first of them is its root: a copy, or a merge, of which others descend."""
    searched = original < 0
    if merged is not None:
        searched &= merged.parent < 0
        for merge in np.unique(merged.home[merged.home >= 0]):
            below = np.flatnonzero(searched & (merged.home == merge))
            yield [_whole(np.append(merge, below))], True
        searched &= merged.home < 0
    own, none = np.flatnonzero(searched), np.full(len(original), -1, dtype=np.intp)
    for relatives in families(source.among(own), trees):
        family = own[relatives]
        copied = (original >= 0).any()
        home = _homes(source, family, original) if copied else none[family]
        for copy in np.unique(home):
            members = family[home == copy]
            if copy >= 0:
                yield [_whole(np.append(copy, members))], True
            elif len(members) > 1:
                parts = parts_of(source, members) if isinstance(source, Measures) else None
                yield parts or [_whole(members)], False


def _whole(members: Indices) -> Part:
    return Part(members, members)


def _homes(source: Source, family: Indices, original: Indices) -> Indices:
    """The nearest copy that each model of a family descends from, (m,); -1 for most."""
    above = np.where(original >= 0, original, np.arange(len(original)))
    top = above
    while (top != above[top]).any():
        top = above[top]
    copies = np.flatnonzero((original >= 0) & np.isin(top, family))
    if not len(copies):
        return np.full(len(family), -1, dtype=np.intp)
    both = np.union1d(family, copies)
    place = np.full(len(original) + 1, -1, dtype=np.intp)  # the last stands for none
    place[both] = np.arange(len(both))
    home = descended(source.among(both), place[original[both]])[place[family]]
    return np.where(home >= 0, both[home], -1)


def _among(members: Indices, pairs: Pair) -> Pair:
    """Those of some pairs that are of some of the models, by their place among these."""
    place = {k: at for at, k in enumerate(members.tolist())}
    each = zip(*(side.tolist() for side in pairs), strict=True)
    found = [(place[i], place[j]) for i, j in each if i in place and j in place]
    i, j = np.array(found, dtype=np.intp).reshape(-1, 2).T
    return i, j


def alike(n: int) -> Forest:
    """Of models that differ in new layers alone: which was first, nothing tells."""
    forest = no_edges(n)
    forest.parents[1:] = 0
    forest.distance[1:] = 0.0
    forest.direction[1:] = 0.5
    return forest


def _settled(source: Source, forest: Forest, leaf: Indices, loose: Bools) -> Indices:
    """The leaves where those that hung from their nearest relative hang from the parent of that one
    if they are its siblings, by the tree that is known by now: trained alike, siblings are nearer
    to each other than to it. A sibling lacks much of the step that the other one took."""
    out = leaf.copy()
    for c in np.flatnonzero(loose).tolist():
        while (u := int(forest.parents[out[c]])) >= 0:
            beside = np.flatnonzero((forest.parents == u) & (leaf < 0))
            share, *drift = _shares(source, u, int(out[c]), [c, *beside[beside != out[c]]])
            if share >= ((1 + np.median(drift)) / 2 if drift else LARGELY):
                break
            out[c] = u
    return out


def _doubt_from_merged(source: Source, forest: Forest, merged: Merged) -> None:
    """Halve the belief in edges from a merge's parent to what is nearer to the merge: a model that
    was trained from the parent is farther from the merge by what others gave to it, one that was
    trained from the merge is nearer by as much."""
    for merge in merged.merges:
        c = np.flatnonzero(np.isin(forest.parents, merge.parents))
        c = c[(merged.parent[c] < 0) & (merged.home[c] != merge.child)]
        from_parent = _squared(source, c, forest.parents[c])[1]
        from_merge = _squared(source, c, np.full_like(c, merge.child))[1]
        forest.joined[c[from_merge < from_parent]] /= 2


def _shares(source: Source, u: int, v: int, models: Sequence[int]) -> Array:
    """Of the step from u to v, what models hold, (m,)."""
    k = np.array(models, dtype=np.intp)
    step, way, left = (
        _squared(source, np.full_like(k, i), j)[1]
        for i, j in ((u, np.full_like(k, v)), (u, k), (v, k))
    )
    return np.asarray((step + way - left) / (2 * np.maximum(step, NO_DISTANCE)))


def _squared(source: Source, i: Indices, j: Indices) -> tuple[Array, Array]:
    """The weights of layers for each pair, (L, E), in units of what i holds; squared distances."""
    of = source.pairs(i, j)
    weight = source.sizes[:, None] / np.where(of.ii > 0, of.ii, np.inf)
    return weight, np.nansum(weight * np.maximum(of.ii + of.jj - 2 * of.ij, 0.0), axis=0)


def _hang_leaves(source: Source, forest: Forest, original: Indices) -> None:
    """Put every copy, or merge, beneath what it was made from, as far away as it is."""
    copies = np.flatnonzero(original >= 0)
    if not len(copies):
        return
    above = original[copies]
    of = source.pairs(above, copies)
    norm = of.ii
    weight, squared = _squared(source, above, copies)
    lacking = np.nansum(weight * (of.ii - of.ij), axis=0)
    forest.parents[copies] = above
    whole = np.nansum(weight * norm, axis=0)  # 0 of a model of zeros
    forest.distance[copies] = np.sqrt(squared / np.where(whole > 0, whole, np.nan))
    forest.polarity[copies] = lacking / np.where(squared > 0, squared, np.nan)
    forest.direction[copies] = 1.0
    forest.odds[copies] = CERTAIN
