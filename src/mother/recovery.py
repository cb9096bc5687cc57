"""From paths to a `ModelGraph`: the whole flow in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike

from mother.architecture import recover_group
from mother.checkpoints import Checkpoint, File, Problem, Slice, lacking
from mother.checkpoints.memory import Models, opened
from mother.checkpoints.passed_over import named, passed_over
from mother.checkpoints.storage import refusal
from mother.copies.contained import find_contained, is_part, rebuilt
from mother.copies.conversions import find_conversions
from mother.copies.duplicates import Duplicate, find_duplicates, rerooted, without
from mother.copies.folded import find_folded
from mother.copies.mixtures import find_mixtures
from mother.copies.quantized import childless, find_quantized
from mother.errors import InputError, UsageError
from mother.evidence.hiding import Hidden, find_hidden
from mother.evidence.renamed import under_known_names
from mother.graph import ModelGraph, Refused
from mother.graph.assembly import Part, assemble
from mother.graph.attached import attached
from mother.graph.identical import with_identical
from mother.graph.merged import with_mixtures
from mother.graph.narrowed import with_narrowed
from mother.graph.relabelled import noted
from mother.hub import is_address
from mother.hub.fetching import fetched, hashed, on_the_hub, within
from mother.layouts import Group, align, in_one_layout
from mother.layouts.blocks import by_their_blocks
from mother.measures.comparable import NotFiniteError, comparable_part, no_weights
from mother.methods import adaptive
from mother.methods import paper as mother
from mother.methods.refinement import Refinement
from mother.options import Options, Progress
from mother.sketches.sketch import check_alike


def recover(
    models: Models,
    *,
    base: str | PathLike[str] | None = None,
    download: bool = False,
    progress: Progress | None = None,
    method: str = "gram",
    distance: str = "auto",
    stage: str = "specialization",
    stages: Mapping[str, str] | None = None,
    trees: int | None = None,
    layers: str | None = None,
    score: str = "kurtosis",
    c: float = mother.C,
    bootstrap: int = 100,
    seed: int = 0,
    threads: int = 0,
    memory: int = 1 << 30,
    explain: bool = False,
    hashes: bool = False,
    hints: bool = False,
    exact: bool = False,
) -> ModelGraph:
    """Recover the model graph of checkpoints on disk, on the Hub or in memory.

    Args:
        models: checkpoints, or folders that hold checkpoints; on the Hub, the address of a
            repository, hf://owner/name[@revision], or of all of an owner's, hf://owner; or
            {id: {name: array}}, arrays as numpy, torch and others have them.
        base: checkpoint that LoRA adapters among them are merged into.
        download: keep what comes from the Hub, in its library's cache.
        progress: called with bytes read and bytes in all.
        method: "gram" (default; needs nothing but weights) or "mother" (the paper's).
        distance: of the paper's method: "ft" (eq. 1), "lora" (eq. 2) or "auto".
        stage, stages: of the paper's method: the training stage of all models, and of some by id.
        trees: number of trees; found if None.
        layers: regular expression; only layers whose name it finds are used.
        score, c: of the paper's method: directional score, and the constant of lambda.
        bootstrap, seed: replicates for `support` (gram), and the seed of all draws.
        threads, memory: 0 for all cores; bytes that blocks in work may hold.
        explain: also note by how much each layer changed on each edge.
        hashes: also note the SHA-256 of every file that weights lie in.
        hints: also note what files say beside the weights: claims of parents, steps and dates,
            with which the result depends on the file system.
        exact: read all of large models, too, of which parts are read else, and more only where a
            decision lies within its error (methods/adaptive.py).

    Raises:
        InputError: nothing among `models` can be read. Where only some can't, they are listed in
            `ModelGraph.refused`.
        UsageError: the options do not fit each other or the input.
    """
    chosen = Options(
        method=method,
        distance=distance,
        stage=stage,
        stages=stages or {},
        trees=trees,
        layers=layers,
        score=score,
        c=c,
        bootstrap=bootstrap,
        seed=seed,
        threads=threads,
        memory=memory,
        explain=explain,
        hashes=hashes,
        hints=hints,
        exact=exact,
    )
    models = list(models) if isinstance(models, Iterator) else models
    checkpoints, problems = opened(models, base=base, download=download)
    check_alike(checkpoints)
    places = [models] if isinstance(models, str | PathLike) else models
    some = [] if isinstance(places, Mapping) else [p for p in places if not is_address(p)]
    left = passed_over(some, checkpoints, problems)
    if not checkpoints and problems:
        problems = named(problems, left)
        first, *others = (InputError(p.shown, p.fault) for p in problems)
        raise InputError(first.path, first.fault, tuple(others))
    graph = recover_checkpoints(checkpoints, chosen, problems=problems, progress=progress)
    return replace(graph, unread=tuple(Refused(p.shown, p.fault) for p in left))


def recover_checkpoints(
    checkpoints: Sequence[Checkpoint],
    options: Options,
    *,
    problems: Sequence[Problem] = (),
    progress: Progress | None = None,
    refinement: Refinement | None = None,
) -> ModelGraph:
    """The same for checkpoints already opened, in any order; of one whose bytes can't be read any
    more, none is kept, and the others are recovered. refinement: where larger sketches come from,
    if they are sketches, and by the default method."""
    problems = list(problems)
    while True:
        try:
            return _recovered(checkpoints, options, problems, progress, refinement)
        except InputError as fault:
            lost = [c for c in checkpoints if _lies_in(c, fault.path)]
            if len(lost) in (0, len(checkpoints)):
                raise
            problems += [Problem(c.path, within(c, fault)) for c in lost]
            checkpoints = [c for c in checkpoints if c not in lost]
            gone = {c.id for c in lost}
            stages = {id_: stage for id_, stage in options.stages.items() if id_ not in gone}
            options = replace(options, stages=stages)


def _lies_in(checkpoint: Checkpoint, path: str) -> bool:
    """Whether a fault that names a path is of a checkpoint, or of what it was merged into."""
    bases = () if checkpoint.base is None else checkpoint.base.files
    paths = (checkpoint.path, *(file.path for file in (*checkpoint.files, *bases)))
    return any(refusal(each, "").path == path for each in paths)


def _recovered(
    checkpoints: Sequence[Checkpoint],
    options: Options,
    problems: Sequence[Problem],
    progress: Progress | None,
    refinement: Refinement | None,
) -> ModelGraph:
    checkpoints = sorted(checkpoints, key=lambda c: (c.id, c.shown))
    unknown = sorted(set(options.stages) - {c.id for c in checkpoints})
    if unknown:
        raise UsageError(f"stages names {unknown[0]!r}, which is not among the inputs")
    refused = [Refused(p.shown, p.fault) for p in problems]
    refused += [Refused(c.shown, fault) for c in checkpoints if (fault := no_weights(c))]
    parts: list[Part] = []
    usable = [c for c in checkpoints if not no_weights(c)]
    waiting = align(usable)
    _check_layers(waiting, options.layers)
    if options.trees is not None and len(waiting) > 1:
        raise UsageError(
            f"trees={options.trees} needs models of one architecture, these are of {len(waiting)}"
        )
    cold = on_the_hub(waiting, options.layers)
    files = [file for c in usable for file in c.files] if options.hashes else []
    report = _reporter(waiting, files, cold, progress)
    lost = fetched(cold, report)
    hashes, spoilt = hashed(files, options.workers, report)
    for c in usable:
        if c not in lost and (faults := [spoilt[f] for f in c.files if f in spoilt]):
            lost[c] = within(c, faults[0])
    if lost:
        refused += [Refused(c.shown, fault) for c, fault in lost.items()]
        waiting = align([c for c in usable if c not in lost])
    there = [c for g in waiting for c in g.checkpoints]
    mixtures = find_mixtures(there) if options.method == "gram" else []
    mixed = {x.model for x in mixtures}
    if mixed:  # merges, which say nothing of their parents' families
        waiting = align([c for c in there if c not in mixed])
    conversions = find_conversions(waiting)
    waiting = _in_one_layout(waiting, conversions)
    hidden: list[Hidden] = []
    if options.method == "gram":
        waiting = _under_known_names(waiting, conversions)
        waiting = [g for group in waiting for g in _by_their_blocks(group)]
        waiting, hidden = _under_other_labels(waiting)
    waiting += [g for c in there if c in mixed for g in align([c])]
    conversions += [Duplicate(x.parents[0], x.model, "upcycled") for x in mixtures]
    while waiting:
        group = waiting.pop(0)
        copies = find_duplicates(group)
        contained = find_contained(group, copies)
        parts_of = [d for d in contained if is_part(d)]
        copies = [rebuilt(d) for d in (*copies, *contained) if not is_part(d)]
        if parts_of:  # what holds them may have a family, which they say nothing of
            conversions += parts_of
            apart = {d.original for d in parts_of}
            waiting += [g for c in apart for g in align([c])]
            (group,) = align([c for c in group.checkpoints if c not in apart])
        if options.method == "gram":
            copies += find_quantized(group, copies)
        # those that lost something may have children; the paper's method takes them for children
        lossy = [d for d in copies if d.relation == "converted" and options.method == "gram"]
        duplicates = [d for d in copies if d not in lossy]
        lossy = rerooted(lossy, duplicates)
        alone = childless(group, lossy)
        lossy = [d for d in lossy if d not in alone]
        duplicates = rerooted([*duplicates, *alone], [*duplicates, *alone])
        # without copies, what they joined may fall apart
        for whole in align(without(group, duplicates)) if duplicates else [group]:
            held = set(whole.checkpoints)
            own = [d for d in duplicates if d.original in held]
            try:
                part = recover_group(
                    whole, [d for d in lossy if d.copy in held], options, report, refinement
                )
            except NotFiniteError as found:
                gone = dict(found.bad)
                gone |= {d.copy: gone[d.original] for d in own if d.original in gone}
                every = [*whole.checkpoints, *(d.copy for d in own)]
                cut = {c: comparable_part(c) for c in every if c in gone}
                refused += [Refused(c.shown, gone[c]) for c, rest in cut.items() if rest is None]
                left = [rest for c in every if (rest := cut.get(c, c)) is not None]
                seen = {rest.id for rest in cut.values() if rest is not None}
                usable = [(c.id in seen and comparable_part(c)) or c for c in usable]
                waiting = align(left) + waiting
                continue
            parts.append(replace(part, duplicates=tuple(own)))
    graph = assemble(
        parts,
        refused,
        options.method,
        options.recorded,
        hashes=hashes,
        conversions=conversions,
        explain=options.explain,
    )
    graph = with_mixtures(with_identical(noted(graph, hidden), usable), mixtures)
    if options.method == "gram":
        there = [c for c in usable if c not in lost]
        graph = attached(with_narrowed(graph, there), there)
    if any(part.in_part for part in parts):
        read = {c.id: adaptive.share_read(c) for c in usable}
        graph = replace(graph, nodes=tuple(replace(x, read=read[x.id]) for x in graph.nodes))
    if not options.hints:
        return graph
    from mother.graph.hints import hints_on  # and with it the readers of model cards

    return replace(graph, hints=hints_on(graph, checkpoints))


def _in_one_layout(groups: list[Group], conversions: Sequence[Duplicate]) -> list[Group]:
    """The groups, models that are stored in another layout than their relatives joined to them;
    copies are known already, and stay apart."""
    copies = _aside(conversions)
    every = sorted((c for g in groups for c in g.checkpoints), key=lambda c: (c.id, c.shown))
    seen, changed = in_one_layout([c for c in every if id(c) not in copies])
    if not changed:
        return groups
    return align(seen) + [g for c in every if id(c) in copies for g in align([c])]


def _aside(conversions: Sequence[Duplicate]) -> set[int]:
    """Of every copy and its original, which says nothing of a family: of a model and a part of it
    the part."""
    return {id(d.original if is_part(d) else d.copy) for d in conversions}


def _under_known_names(groups: list[Group], conversions: Sequence[Duplicate]) -> list[Group]:
    """The groups, models that are kin under other names and labels joined; copies are known
    already, and stay apart."""
    copies = _aside(conversions)
    apart, others = list[Group](), list[Group]()
    for group in groups:
        (apart if copies & set(map(id, group.checkpoints)) else others).append(group)
    seen = under_known_names(others) if len(others) > 1 else {}
    if not seen:
        return groups
    return align([seen.get(id(c), c) for group in others for c in group.checkpoints]) + apart


def _under_other_labels(groups: list[Group]) -> tuple[list[Group], list[Hidden]]:
    """The groups, models that are kin under other labels seen under those of their relatives."""
    out, found = list[Group](), list[Hidden]()
    for group in groups:
        folded = find_folded(group, [])  # scales that are no secret
        own = align(without(group, folded))[0] if folded else group
        hidden = find_hidden(own) if len(own.checkpoints) > 1 else []
        seen = {id(each.own): each.seen for each in hidden}
        models = [seen.get(id(c), c) for c in group.checkpoints]
        out += align(models) if hidden else [group]
        found += hidden
    return out, found


def _by_their_blocks(group: Group) -> list[Group]:
    models = by_their_blocks(group.checkpoints)
    return [group] if models == list(group.checkpoints) else align(models)


def _reporter(
    groups: Sequence[Group],
    files: Sequence[File],
    cold: Mapping[Checkpoint, Sequence[Slice]],
    progress: Progress | None,
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    total = sum(t.nbytes for g in groups for layer in g.layers for t in layer.tensors)
    total += sum(map(lacking, cold.values()))
    total += sum(file.size for file in files)
    done = 0

    def report(step: int) -> None:
        nonlocal done
        done = min(done + step, total)
        progress(done, total)

    return report


def _check_layers(groups: Sequence[Group], pattern: str | None) -> None:
    names = [layer.name for group in groups for layer in group.layers]
    if pattern is not None and names and not any(re.search(pattern, name) for name in names):
        raise UsageError(f"layers {pattern!r} finds no layer, such as {names[0]!r}")
