"""From paths to a `Report`: recover, read the claims, compare, weigh."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from mother.attributes import infer
from mother.checkpoints import Checkpoint, discover
from mother.checkpoints.claims import is_gguf, read_all_claims
from mother.checkpoints.discovery import folders_of
from mother.checkpoints.folders import MAX_DEPTH, is_folder, listing, shard_set
from mother.checkpoints.formats import ending
from mother.checkpoints.nothing import NOTHING_FOUND
from mother.checkpoints.passed_over import beside, named, passed_over
from mother.checkpoints.storage import File, identity
from mother.checkpoints.tensor import Problem, clean
from mother.errors import InputError
from mother.gate.binding import binding
from mother.gate.findings import Weighing, unreadable, weighed
from mother.gate.policy import Policy
from mother.gate.report import ModelVerdict, Report
from mother.gate.verdicts import Inputs, judge
from mother.graph import ModelGraph, Refused
from mother.graph.descent import Descent
from mother.graph.facts import copies, of_files
from mother.graph.verdict import certainty
from mother.layouts import align
from mother.names import counted
from mother.options import Options, Progress
from mother.recovery import recover_checkpoints

_CHUNK = 1 << 24


def check(
    paths: Sequence[str | PathLike[str]] | str | PathLike[str],
    policy: Policy | None = None,
    *,
    download: bool = False,
    progress: Progress | None = None,
    threads: int = 0,
    exact: bool = False,
) -> Report:
    """Compare what models claim of their parents and licences with what their weights say.

    Args:
        paths: checkpoints, or folders that hold checkpoints, or addresses of either on the Hub.
        download: keep weights that come from the Hub, in its library's cache.
        policy: what is forbidden; the defaults if None.
        progress: called with bytes read and bytes in all.
        threads: 0 for all cores.
        exact: read all of large models, too (`mother.recover`).

    Raises:
        InputError: nothing among `paths` can be read. Where only some can't, each is a finding.
    """
    policy = policy or Policy()
    several = [paths] if isinstance(paths, str | PathLike) else list(paths)
    # until the claims are read, too
    with folders_of(several, download=download) as (folders, unopened):
        options = Options(bootstrap=0, threads=threads, exact=exact)
        return _checked(folders, unopened, policy, progress, options)


def _checked(
    folders: Sequence[Path],
    unopened: Sequence[Problem],
    policy: Policy,
    progress: Progress | None,
    options: Options,
) -> Report:
    checkpoints, problems = discover(folders)
    problems += unopened
    opened = [c.path for c in checkpoints]
    gguf = _gguf_files(folders, opened)
    problems = [p for p in problems if not _is_told(p, gguf)]
    left = passed_over(folders, checkpoints, [*problems, *(Problem(path, "") for path in gguf)])
    # what lies with a model that was read is likely the same once more, and a finding of its own
    aside = [p for p in left if beside(p, checkpoints)]
    problems = [*named(problems, left), *(p for p in left if p not in aside)]
    problems = list(dict.fromkeys(problems))
    if not checkpoints and not gguf and problems:
        first, *others = (InputError(p.shown, p.fault) for p in problems)
        raise InputError(first.path, first.fault, tuple(others))
    graph = recover_checkpoints(checkpoints, options, problems=problems, progress=progress)
    graph = replace(graph, unread=tuple(Refused(p.shown, p.fault) for p in aside))
    return weigh(_inputs(graph, checkpoints, gguf), policy)


def weigh(inputs: Inputs, policy: Policy) -> Report:
    """The report on a graph that is recovered already, with what its models claim."""
    shown = Descent(inputs.graph, policy.certainty, {})
    probably = _inferred_licences(inputs)
    verdicts = [
        replace(judge(inputs, shown, id_), probably=probably.get(id_, "")) for id_ in inputs.paths
    ]
    declared = {v.id: tuple(_incomparable(inputs, v)) for v in verdicts}
    hashed = any(entry.startswith("sha256:") for entry in policy.deny)
    hashes = {id_: frozenset(_hashes(p)) for id_, p in inputs.paths.items()} if hashed else {}
    descent = Descent(inputs.graph, policy.certainty, declared)
    weighing = Weighing(inputs, descent, policy, hashes)
    bound = {id_: binding(id_, inputs.licences, descent, policy.licences) for id_ in inputs.paths}
    nodes = {node.id: tuple(of_files(node)) for node in inputs.graph.nodes}
    verdicts = [replace(v, binding=tuple(bound[v.id]), notes=nodes.get(v.id, ())) for v in verdicts]
    findings = [f for v in verdicts for f in weighing.findings(v)]
    for refused in inputs.graph.refused:
        path = Path(refused.path)
        findings.append(unreadable(path, refused.fault, policy))
        verdicts.append(
            ModelVerdict(clean(refused.path), path, "unknown", f"can't be read: {refused.fault}")
        )
    for left in inputs.graph.unread:
        findings.append(unreadable(Path(left.path), left.fault, policy, "unread"))
    said = tuple(weighed(iter(findings), policy))
    return Report(tuple(verdicts), said, inputs.graph.read, tuple(copies(inputs.graph)))


def _inferred_licences(inputs: Inputs) -> dict[str, str]:
    """By model without a licence, which one its relatives let expect, and why."""
    known = {node.id for node in inputs.graph.nodes}
    told = {x: {"license": " + ".join(s)} for x, s in inputs.licences.items() if x in known}
    if not told or len(told) == len(known):
        return {}
    return {
        cell.model: f"{cell.value} ({certainty(cell.probability or 0.0)} sure: {cell.why})"
        for cell in infer(inputs.graph, told, kinds={"license": "category"})
        if cell.status == "inferred"
    }


def _inputs(graph: ModelGraph, checkpoints: Sequence[Checkpoint], gguf: Sequence[Path]) -> Inputs:
    known = {node.id for node in graph.nodes}
    read = [c for c in checkpoints if c.id in known]
    groups = {c.id: k for k, group in enumerate(align(read)) for c in group.checkpoints}
    paths = {c.id: c.path for c in read}
    for path in gguf:
        id_ = clean(path.stem) if clean(path.stem) not in paths else clean(str(path))
        paths[id_] = path
        groups[id_] = len(groups)
    claims = read_all_claims(paths, [*(c.path for c in checkpoints), *gguf])
    return Inputs(graph, {id_: paths[id_] for id_ in sorted(paths, key=counted)}, claims, groups)


def _gguf_files(given: Iterable[Path], opened: Sequence[Path]) -> list[Path]:
    """GGUF files at the paths and below them that were not opened, but for those in folders that
    are a checkpoint."""
    taken = set(map(identity, opened))
    found = {}
    for path in given:
        if is_gguf(path.name):
            found[identity(path)] = path
        for folder, below, names in os.walk(path):
            below[:] = [b for b in sorted(below) if not b.startswith(".")]
            if len(Path(folder).relative_to(path).parts) >= MAX_DEPTH:
                below.clear()
            if identity(Path(folder)) not in taken:
                inside = [Path(folder, n) for n in names if is_gguf(n) and not n.startswith(".")]
                found |= {identity(file): file for file in inside}
    return sorted(file for real, file in found.items() if real not in taken and _is_file(file))


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  (False also where permission lacks)


def _is_told(problem: Problem, files: Sequence[Path]) -> bool:
    """Whether an input was refused for nothing but holding files that are told by themselves."""
    below = any(file.is_relative_to(problem.path) for file in files)
    return problem.path in files or (problem.fault.startswith(NOTHING_FOUND) and below)


def _incomparable(inputs: Inputs, verdict: ModelVerdict) -> Iterable[str]:
    """Inputs that a model claims as parents and whose weights can't be compared with its own."""
    for j in verdict.claims:
        if j.model is not None and inputs.groups[j.model] != inputs.groups[verdict.id]:
            yield j.model


def _hashes(path: Path) -> Iterable[str]:
    """sha256, in hex, of each file that a checkpoint's weights lie in."""
    if is_folder(path):
        files = [path / name for name in listing(path) if ending(name)]
    else:
        shards = shard_set(path.name)
        files = [path.parent / name for name in (shards[1] if shards else [path.name])]
    for path in files:
        file, digest = File(path), hashlib.sha256()
        for start in range(0, file.size, _CHUNK):
            digest.update(file.read(start, min(_CHUNK, file.size - start)))
        yield digest.hexdigest()
