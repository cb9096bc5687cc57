"""What the weights say of the parents that a model claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mother.checkpoints.claimed_names import Names
from mother.checkpoints.claims import Claim, Claims, repository
from mother.checkpoints.tensor import printable
from mother.gate.licences import normalised
from mother.gate.report import Judged, ModelVerdict
from mother.graph import ModelGraph
from mother.graph.descent import Descent, Line
from mother.graph.grades import grade, joined
from mother.graph.verdict import certainty, of_edge, unhidden

#: what a config says by itself when a model is stored: often a scratch folder
_WEAK = "_name_or_path"
_SHOWN = 4
_ENDS = 4


@dataclass(frozen=True)
class Inputs:
    """The models of a graph with what is known beside their weights. paths, claims: by id;
    groups: by id, a number that models share whose weights could be compared. Models that are in
    `paths` and not in the graph are of a format whose weights are not read."""

    graph: ModelGraph
    paths: Mapping[str, Path]
    claims: Mapping[str, Claims]
    groups: Mapping[str, int]

    @cached_property
    def adapters(self) -> frozenset[str]:
        return frozenset(n.id for n in self.graph.nodes if n.format == "peft")

    @cached_property
    def compared(self) -> frozenset[str]:
        """The models whose weights were read."""
        return frozenset(n.id for n in self.graph.nodes)

    @cached_property
    def tree(self) -> dict[str, int]:
        """The number of each model's tree."""
        return {m: k for k, tree in enumerate(self.graph.trees) for m in tree.members}

    @cached_property
    def licences(self) -> dict[str, tuple[str, ...]]:
        """What each model with a licence states, by id."""
        said = {id_: [normalised(x.value) for x in c.licences] for id_, c in self.claims.items()}
        return {id_: tuple(dict.fromkeys(licences)) for id_, licences in said.items() if licences}

    @cached_property
    def names(self) -> Names:
        return Names(self.paths)


def judge(inputs: Inputs, descent: Descent, id: str) -> ModelVerdict:
    """The verdict on one model: that on its claims, the worst first, or on its having none.
    descent: without what models declare."""
    claims = inputs.claims.get(id, Claims())
    distinct: dict[str, Claim] = {}
    for claim in claims.parents:
        distinct.setdefault(repository(claim.value), claim)
    several = max(Counter(claim.file for claim in distinct.values()).values(), default=0) > 1
    several |= any(claim.value == "merge" for claim in claims.relations)
    meant = [inputs.names.means(id, claim) for claim in distinct.values()]
    lacking = several and any(found is not None and not found[0] for found in meant)
    judged = [
        found
        for claim in distinct.values()
        if (found := _judge_claim(inputs, descent, id, claim, several, lacking)) is not None
    ]
    if any(j.verdict == "confirmed" for j in judged):
        judged = [j for j in judged if j.verdict != "unknown" or j.claim.key != _WEAK]
    sure = descent.ancestors(id)
    parent = next((a for a in sure if a in inputs.compared and a not in descent.copies(id)), None)
    verdict, reason = _overall(inputs, descent, id, judged, parent)
    return ModelVerdict(
        id, inputs.paths[id], verdict, reason, tuple(judged), parent, inputs.licences.get(id, ())
    )


def _overall(
    inputs: Inputs, descent: Descent, id: str, judged: list[Judged], parent: str | None
) -> tuple[str, str]:
    shown = f"the weights show {way(descent.ancestors(id)[parent])}" if parent else ""
    for verdict in ("contradicted", "unknown", "confirmed"):
        for j in judged:
            if j.verdict == verdict:
                said = "" if j.line else shown
                return verdict, "; ".join(filter(None, (j.reason, said)))
    if shown:
        return "undeclared", f"names no parent; {shown}"
    above = [h for h in inputs.graph.hidden if id in h.children]
    if above:
        beside = some([c for c in above[0].children if c != id])
        return "undeclared", (
            f"names no parent; the weights show an ancestor, not among the inputs, "
            f"that it shares with {beside}"
        )
    copies = [c for c in descent.copies(id) if c != id]
    if copies:
        return "unknown", f"names no parent; holds the same weights as {some(copies)}"
    possible = descent.ancestors(id, possible=True)
    if possible:
        line = possible[next(iter(possible))]
        return "unknown", f"names no parent; {way(line)}, {_doubt(line, descent)}"
    return "unknown", "names no parent, and none is among the inputs"


def _judge_claim(
    inputs: Inputs, descent: Descent, id: str, claim: Claim, several: bool, lacking: bool
) -> Judged | None:
    meant = inputs.names.means(id, claim)
    if meant is None:
        return None
    ids, how = meant
    name = printable(claim.value, 200)
    if not ids:
        why = "which is its own name" if how else "which is not among the inputs"
        return Judged(claim, "unknown", f"claims {name}, {why}")
    if any(not set(ids) <= set(descent.copies(other)) for other in ids):
        return Judged(claim, "unknown", f"claims {name}, which may be {some(ids)}")
    verdict, said, line = _compare(inputs, descent, id, ids[0], several, lacking)
    note = "" if how in ("id", "owner and name") else f" (matched by the {how})"
    return Judged(claim, verdict, f"claims {name}{note}; {said}", ids[0], line)


def _compare(
    inputs: Inputs, descent: Descent, id: str, other: str, several: bool, lacking: bool
) -> tuple[str, str, Line]:
    """The verdict on `other` as a parent of `id`, why, and the way between them. several: whether
    it is claimed beside others, lacking: of which some are not among the inputs."""
    if other in descent.copies(id):
        line = descent.ancestors(id)[other]
        return "confirmed", f"it holds the same weights as {printable(other, 200)}", line
    if line := descent.ancestors(id).get(other, ()):
        return "confirmed", f"the weights show {way(line)}", line
    if line := descent.ancestors(id, possible=True).get(other, ()):
        return "unknown", f"{way(line)}, {_doubt(line, descent)}: the weights don't tell", line
    if line := descent.ancestors(other).get(id, ()):
        if lacking:  # a sum lies between what it is of, and without the rest is no sum
            return "unknown", f"{way(line)}, or a merge with what is not among the inputs", line
        return "contradicted", f"the weights show the reverse, {way(line)}", line
    one, two = printable(id, 200), printable(other, 200)
    if inputs.groups[id] != inputs.groups[other]:
        if not {id, other} <= inputs.compared:
            return "unknown", "GGUF weights are not compared", ()
        if (id in inputs.adapters) != (other in inputs.adapters):
            return "unknown", "an adapter's weights don't tell its base", ()
        return "unknown", f"{one} and {two} are of architectures that can't be compared", ()
    if {id, other} <= inputs.adapters:
        return "unknown", "an adapter's weights don't tell what it was put on", ()
    if inputs.tree.get(id) == inputs.tree.get(other):
        if several and not len(inputs.graph.parents(id)) > 1:
            return "unknown", f"{two} is a relative, and no merge was found that holds it", ()
        return "contradicted", f"{two} is a relative on another branch, not an ancestor", ()
    return "contradicted", f"the weights of {two} are a stranger's", ()


def _doubt(line: Line, descent: Descent) -> str:
    """What is open of a way that is possible."""
    edges = (step.edge for step in line if step.edge is not None)
    return "or the reverse" if not all(map(descent.directed, edges)) else "or from elsewhere"


def way(line: Line) -> str:
    """A way through the graph in words, from its top.

    >>> from mother.graph.descent import Step
    >>> from mother.graph import Edge
    >>> edge = Edge("base", "mid", "fine-tune", distance=0.1, direction_probability=0.99)
    >>> way((Step("copy", "tuned", "mid"), Step("edge", "mid", "base", edge)))
    "base -> mid = tuned (strong: fine-tuned; 99 % sure of the direction; 10 % of its weights' \
norm changed)"
    """
    said = printable(line[-1].parent, 200)
    for k, step in enumerate(reversed(line)):
        if _ENDS <= k < len(line) - _ENDS:
            said += " -> …" if k == _ENDS else ""
            continue
        sign = "=" if step.kind == "copy" else "->"
        said += f" {sign} {printable(step.child, 200)}"
    edges = [step.edge for step in line if step.edge is not None]
    if len(edges) == 1:
        return f"{said} ({grade(edges[0])}: {of_edge(edges[0], beside=True)})"
    sure = [x for e in edges for x in (e.direction_probability, joined(e)) if x is not None]
    doubt = "open: " if any(grade(e) == "open" for e in edges) else ""
    figures = [f"{doubt}each step {certainty(min(sure))} sure or more"] if sure else []
    figures += [unhidden(e.relabelled) for e in edges if e.relabelled is not None]
    return f"{said} ({'; '.join(figures)})" if figures else said


def some(ids: tuple[str, ...] | list[str]) -> str:
    """A few of several names.

    >>> some(["a", "b"]), some(list("abcdef"))
    ('a and b', 'a, b, c, d and 2 more')
    """
    names = [printable(id_, 100) for id_ in ids]
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
