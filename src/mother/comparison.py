"""`compare`: measures two checkpoints and weighs what that says of their relation."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike

import numpy as np

from mother.architecture import recover_group
from mother.checkpoints import Checkpoint, prefetch
from mother.checkpoints.memory import Model, opened_one
from mother.copies.contained import find_contained, rebuilt
from mother.copies.conversions import find_conversions
from mother.copies.duplicates import Duplicate, find_duplicates
from mother.copies.quantized import find_quantized
from mother.errors import InputError, UsageError
from mother.evidence.direction import Pairs, weigh
from mother.evidence.family import speaking as speaking_layers
from mother.evidence.hiding import WEAK, regained
from mother.evidence.kinship import cosines, kinship
from mother.evidence.ranks import unchanged
from mother.evidence.relabelled import relabelling, tells, tensors_of
from mother.evidence.relation import kept, length
from mother.evidence.renamed import kin_by_spectra
from mother.graph import Evidence, narrowed, reasons, rounded
from mother.graph.assembly import edges_of
from mother.graph.comparison import Comparison, LayerEvidence
from mother.graph.parts import Relabelled
from mother.layouts import Group, align
from mother.layouts.blocks import by_their_blocks
from mother.layouts.content import in_one_layout
from mother.layouts.undoing import scaled, undone
from mother.measures import Measures, measure
from mother.measures.comparable import NotFiniteError, comparable_part, no_weights
from mother.measures.formats import roundings
from mother.methods import adaptive
from mother.options import Options
from mother.sketches.sketch import check_alike
from mother.thresholds import ALL_BUT_NOISE, MOST

UNLIKE = 0.05  # share of weights in layers that are hardly alike, from which on labels are doubted
STRANGE = 0.9  # the same share of strangers
ALIKE = 0.8  # cosine of a layer that is
MATRIX = 256  # weights of a layer whose cosine tells something
SAME = 1e-5  # distance that rounding leaves when what hid a model is undone


def compare(
    a: Model,
    b: Model,
    *,
    base: str | PathLike[str] | None = None,
    download: bool = False,
    exact: bool = False,
) -> Comparison:
    """Compare two checkpoints.

    a, b: paths, addresses on the Hub (hf://owner/name), or {name: array}. base: checkpoint that a
    LoRA adapter is merged into. download: keep what comes from the Hub, in its library's cache.
    exact: read all of large models, too, of which parts are read else, and more only where a
    decision lies within its error. InputError if one can't be read, UsageError if one is nothing of
    the kind.

    >>> import numpy as np
    >>> draw = np.random.default_rng(0)
    >>> base = {f"h.{k}.weight": draw.standard_normal((64, 64)) for k in range(8)}
    >>> tuned = {name: w + 0.1 * draw.standard_normal(w.shape) for name, w in base.items()}
    >>> found = compare(base, tuned)
    >>> found.relation, found.parent
    ('fine-tune', 'a')
    """
    first = opened_one(a, id="a", base=base, download=download)
    second = opened_one(b, id="b", base=base, download=download)
    both = (first, second)
    check_alike(both)
    for checkpoint in both:
        if fault := no_weights(checkpoint):
            raise InputError(checkpoint.shown, fault)
    prefetch(s for c in both for t in c.tensors.values() if t.is_weight for s in t.slices())
    names = (_name(a, first), _name(b, second))
    adapters = [c.format == "peft" for c in both]
    if base is None and any(adapters) and not all(adapters):
        raise UsageError(
            f"{names[adapters.index(True)]} is a LoRA adapter; give its base by --base"
        )
    while True:
        try:
            return _between(*both, names, exact)
        except NotFiniteError as found:
            both = _comparable(both, found)


def _comparable(
    both: tuple[Checkpoint, Checkpoint], found: NotFiniteError
) -> tuple[Checkpoint, Checkpoint]:
    """The two without what can't be compared. InputError where too little is left."""
    faults = {c.id: fault for c, fault in found.bad}
    parts = [comparable_part(c) if c.id in faults else c for c in both]
    few = [c for c, part in zip(both, parts, strict=True) if part is None]
    if few:
        first, *others = (InputError(c.shown, faults[c.id]) for c in few)
        raise InputError(first.path, first.fault, tuple(others)) from None
    one, other = (part for part in parts if part is not None)
    return one, other


def _between(
    first: Checkpoint, second: Checkpoint, names: tuple[str, str], exact: bool
) -> Comparison:
    both = (first, second)
    groups = align(both)
    if conversions := find_conversions(groups):
        # which of the two came first is not told by the same numbers in another order
        copy = conversions[0]
        said = (reasons.of_conversion(copy),)
        shares = _shares(first, second, copy)
        return Comparison(*names, copy.relation, distance=0.0, evidence=said, compared=shares)
    if len(groups) > 1 or any(groups[0].unaligned):
        groups = align(in_one_layout(both)[0])
    if len(groups) > 1 and (renaming := kin_by_spectra(second, first)) is not None:
        groups = align([first, renaming.seen(second)])
    groups = [g for group in groups for g in align(by_their_blocks(group.checkpoints))]
    if len(groups) > 1:
        if (narrow := narrowed.compared(first, second, names)) is not None:
            return narrow
        says = "too little of the one has a partner of the same name and shape in the other"
        nothing = Evidence("architecture", 0.0, says)
        return Comparison(*names, "unknown", evidence=(nothing,), not_compared=_unread(*groups))
    (group,) = groups
    in_part = not exact and adaptive.pays(group)
    found = _told(group, names, in_part)
    if not in_part:
        return found
    return replace(found, read=(adaptive.share_read(first), adaptive.share_read(second)))


def _unread(*groups: Group) -> tuple[str, ...]:
    """What of models is not compared: it has no partner, or is no weight."""
    unpaired = [
        f"{c.id}: {reason}"
        for group in groups
        for c, missing in zip(group.checkpoints, group.unaligned, strict=True)
        for reason in missing
    ]
    every = sorted((c for group in groups for c in group.checkpoints), key=lambda c: c.id)
    return (*unpaired, *(line for c in every for line in reasons.not_read(c)))


def _told(group: Group, names: tuple[str, str], in_part: bool) -> Comparison:
    """Of two of one layout. in_part: whether windows of their layers are read first."""
    found = _judged(group, names, in_part)
    if found.relation in _COPIES:
        return found
    if found.relation == "strangers" or _unlike(found) >= UNLIKE or _scaled(group, found):
        return _under_other_labels(group, names, found, in_part)
    return found


_COPIES = {"duplicate", "contains", "converted", "quantized", "pruned"}


def _judged(group: Group, names: tuple[str, str], in_part: bool) -> Comparison:
    copies = [rebuilt(d) for d in find_duplicates(group) or find_contained(group, ())]
    copies = copies or [d for d in find_quantized(group, ()) if d.relation == "quantized"]
    if copies:
        return _copied(group, names, copies[0])
    return _measured(group, names, in_part)


def _unlike(found: Comparison) -> float:
    """The share of weights in layers that are hardly alike."""
    matrices = [x for x in found.layers if x.cosine is not None and x.weights >= MATRIX]
    apart = sum(x.weights for x in matrices if (x.cosine or 0.0) < ALIKE)
    return apart / max(sum(x.weights for x in matrices), 1)


def _scaled(group: Group, found: Comparison) -> bool:
    """Whether units of the layers that are alike least may have been scaled one by one, or a norm's
    scales have moved."""
    cosine = {x.name: x.cosine or 1.0 for x in found.layers}
    layers = [x for x in group.layers if len(x.members) == 2]
    weak = [x for x in layers if len(x.shape) > 1 and cosine.get(x.name, 1.0) < ALL_BUT_NOISE]
    weak = sorted(weak, key=lambda x: cosine[x.name])[:WEAK]
    gains = [x for x in layers if len(x.shape) == 1]
    return any(scaled(*x.tensors) for x in weak) or any(regained(*x.tensors) for x in gains)


def _under_other_labels(
    group: Group, names: tuple[str, str], found: Comparison, in_part: bool
) -> Comparison:
    """The same where units may be labelled otherwise in the one than in the other: what hides them
    is undone if a test says that they are kin. They are strangers only if the test can tell."""
    one, other = tensors_of(group)
    test = relabelling(one, other)
    a, b = group.checkpoints
    hidden = undone(a, b, spin=test.spin) if test is not None and test.is_kin() else None
    if test is None or (not test.is_kin() and found.relation != "strangers"):
        told = None
    else:
        kinds = hidden.kinds if hidden else ()
        told = Relabelled(test.p, rounded(test.alike) or 0.0, len(test.axes), kinds)
    if test is not None and hidden is not None:
        seen = align([a, hidden.seen(b)])
        if len(seen) == 1:
            again = _judged(seen[0], names, in_part)
            if again.relation != "strangers" and _hid(again, found):
                return _known_again(again, hidden.kinds, reasons.of_relabelling(test, hidden), told)
    if found.relation != "strangers":
        return found
    if test is not None and test.is_kin():
        says = reasons.of_relabelling(test, None)
        return replace(
            found, relation="relatives", evidence=(*found.evidence, says), relabelled=told
        )
    power = test is not None and tells(one) and tells(other)
    apart = _unlike(found) >= STRANGE
    says = reasons.of_no_kinship(test, power, apart)
    strangers = power and apart and test is not None and test.is_chance()
    kin = "strangers" if strangers else "no kinship found"
    return replace(found, relation=kin, evidence=(*found.evidence, says), relabelled=told)


def _hid(again: Comparison, found: Comparison) -> bool:
    """Whether what was undone hid most of the way between two: training moves scales, too."""
    if found.distance is None or again.distance is None:
        return True
    return again.distance < MOST * found.distance


def _known_again(
    again: Comparison, kinds: tuple[str, ...], says: Evidence, told: Relabelled | None
) -> Comparison:
    same = again.relation == "duplicate" or (again.distance is not None and again.distance < SAME)
    if same:  # which of the two came first is not told by the same numbers under other labels
        scheme = f"relabelled: {', '.join(kinds)}"
        return replace(
            again,
            relation="converted",
            parent=None,
            stage=None,
            generalization=None,
            direction_probability=None,
            probabilities=None,
            evidence=(says,),
            scheme=scheme,
            relabelled=told,
        )
    return replace(again, evidence=(says, *again.evidence), relabelled=told)


def _shares(
    a: Checkpoint, b: Checkpoint, copy: Duplicate | None, group: Group | None = None
) -> tuple[float, float]:
    """Which share of the weights of each was compared: of copies those that both hold, of others
    those of the layers of their group."""
    if copy is not None:
        held = min(a.parameters, b.parameters) if copy.relation == "contains" else None
        shares = [(c.parameters if held is None else held) / c.weights for c in (a, b)]
    else:
        common = sum(x.size for x in group.layers if len(x.members) == 2) if group else 0
        shares = [common / c.weights for c in (a, b)]
    return rounded(shares[0], 4) or 0.0, rounded(shares[1], 4) or 0.0


def _name(given: Model, opened: Checkpoint) -> str:
    return str(given) if isinstance(given, str | PathLike) else opened.id


def _copied(group: Group, names: tuple[str, str], copy: Duplicate) -> Comparison:
    same = copy.relation in ("duplicate", "contains")
    a, b = sorted((copy.original, copy.copy), key=lambda c: c.id)
    return Comparison(
        *names,
        copy.relation,
        parent=None if same or copy.undirected else copy.original.id,
        distance=0.0 if same else _lost(group, copy) if copy.distance is None else copy.distance,
        evidence=tuple(reasons.of_copies(copy)),
        not_compared=_unread(group),
        scheme=copy.scheme,
        compared=_shares(a, b, copy),
    )


def _measured(group: Group, names: tuple[str, str], in_part: bool) -> Comparison:
    """The two as `recover` finds them in a folder of their own, with what each layer says."""
    part = recover_group(group, (), Options(bootstrap=0, exact=not in_part), None, None)
    m, forest, seen = part.measures, part.forest, part.group
    assert isinstance(m, Measures)
    lossy = [d for d in part.lossy if d.relation]
    if lossy:
        return _copied(seen, names, lossy[0])
    masks = sorted({x.name for x in group.layers} - {x.name for x in seen.layers})
    unread = (*_unread(seen), *(f"both: {name}: a mask, not finite in either" for name in masks))
    a, b = seen.checkpoints
    kin = float(kinship(m)[0, 1])
    related = kin > 1
    speaking = speaking_layers(m) & related
    pairs = _weighed(m.over(speaking)) if speaking.any() else None
    found = Comparison(
        *names,
        "siblings" if forest.hidden else "relatives" if related else "strangers",
        kinship=rounded(kin),
        polarity=rounded(forest.hidden[0].polarity) if forest.hidden else None,
        layers=_layers(m, speaking, pairs, roundings(seen)),
        not_compared=unread,
        compared=_shares(a, b, None, seen),
    )
    evidence = [reasons.of_kinship(m, related)]
    child = next((k for k in (0, 1) if forest.parents[k] >= 0), None)
    if child is None or pairs is None:
        if pairs is not None and found.polarity is not None:
            evidence.append(reasons.of_polarity(pairs, None, found.polarity))
        step = reasons.of_step(seen, m, None) if related else ()
        return replace(found, evidence=(*evidence, *step))
    parent = 1 - child
    (edge,) = edges_of(part, "gram")
    if edge.scheme:
        evidence.append(Evidence("by hand", 0.0, edge.scheme))
    else:
        evidence += reasons.of_direction(m.over(speaking), pairs, parent)
        claims = forest.claims[child]
        evidence += [Evidence(kind, rounded(odds, 3) or 0.0, says) for kind, odds, says in claims]
        beside = sum(odds for _, odds, _ in claims)
        evidence.append(reasons.of_third(pairs, parent, float(forest.direction[child]), beside))
        evidence.append(reasons.of_polarity(pairs, parent, edge.polarity or 0.0))
    return replace(
        found,
        relation=edge.relation,
        parent="ab"[parent],
        stage=edge.stage,
        distance=edge.distance,
        polarity=edge.polarity,
        direction_probability=edge.direction_probability,
        rank=edge.rank,
        evidence=(*evidence, *reasons.of_step(seen, m, edge.rank)),
        scheme=edge.scheme,
        probabilities=edge.probabilities,
        generalization=edge.generalization,
    )


def _weighed(told: Measures) -> Pairs:
    """What layers say of two models."""
    one, other = np.array([0]), np.array([1])
    return weigh(one, other, told.pairs(one, other))


def _lost(group: Group, copy: Duplicate) -> float | None:
    """The distance that rounding or pruning made."""
    m = measure(group, threads=Options().workers)
    m = m.over(np.asarray(np.isfinite(m.gram).all(axis=(1, 2))))
    p, c = (group.checkpoints.index(x) for x in (copy.original, copy.copy))
    return rounded(length(m.two(p, c), kept(m, p, c)))


def _layers(
    m: Measures, speaking: np.ndarray, pairs: Pairs | None, rounding: np.ndarray
) -> tuple[LayerEvidence, ...]:
    cosine, squared, loss = cosines(m)[:, 0, 1], m.squared_distance[:, 0, 1], m.loss[:, 0, 1]
    norm, same = m.gram[:, 0, 0], unchanged(m, rounding)[:, 0, 1]
    odds = np.full(len(m.names), np.nan)
    if pairs is not None:
        odds[speaking] = pairs.log_odds_by_layer[:, 0]
    return tuple(
        LayerEvidence(
            name,
            int(m.sizes[k]),
            rounded(float(cosine[k])),
            0.0 if same[k] else rounded((squared[k] / norm[k]) ** 0.5 if norm[k] else None),
            None if same[k] else rounded(float(loss[k] / squared[k])),
            rounded(float(odds[k]), 4),
        )
        for k, name in enumerate(m.names)
    )
