"""What a check found: a verdict on every model, and the findings that a policy weighs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mother.checkpoints.claims import Claim
from mother.gate.binding import Binding
from mother.gate.policy import RULES
from mother.graph import Edge, rounded
from mother.graph.descent import Line
from mother.hub import shown

SCHEMA = "mother.check/1"
_ENDS = 10


@dataclass(frozen=True)
class Judged:
    """A claimed parent with what the weights say of it. model: the input that it means, if any;
    line: the way from the model up to it, or the reverse where the weights say so."""

    claim: Claim
    verdict: str
    reason: str
    model: str | None = None
    line: Line = ()


@dataclass(frozen=True)
class ModelVerdict:
    """One input. parent: the nearest ancestor among the inputs that the weights show. binding: the
    licences that bind it, its own and those of its ancestors. probably: where it states none, which
    licence its relatives let expect; nothing passes or fails by it. notes:
    on its files: whether they are there twice, what of them was read and compared."""

    id: str
    path: Path
    verdict: str
    reason: str
    claims: tuple[Judged, ...] = ()
    parent: str | None = None
    licences: tuple[str, ...] = ()
    binding: tuple[Binding, ...] = ()
    probably: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that a rule is about. about: the other model or name; line: the evidence, from the
    model upwards; file, row: where it is claimed. accepted: why the policy accepts it."""

    rule: str
    level: str
    model: str
    message: str
    file: Path
    row: int | None = None
    about: str = ""
    line: Line = ()
    accepted: str | None = None


@dataclass(frozen=True)
class Report:
    """Models by id; findings by model and rule, those that are off left out. read: as of
    `ModelGraph`, which share of how many bytes was read where it was not all. copies: what models
    are there twice, in lines."""

    models: tuple[ModelVerdict, ...]
    findings: tuple[Finding, ...]
    read: tuple[float, int] | None = None
    copies: tuple[str, ...] = ()

    @property
    def forbidden(self) -> tuple[Finding, ...]:
        """The findings that the policy does not let pass, unreadable weights aside."""
        return tuple(f for f in self.findings if counts(f) and f.rule != "unreadable")

    @property
    def unchecked(self) -> tuple[Finding, ...]:
        """The inputs that could not be looked at, where the policy does not let that pass."""
        return tuple(f for f in self.findings if counts(f) and f.rule == "unreadable")

    def to_json(self) -> str:
        """Versioned JSON; the same report gives the same bytes."""
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "forbidden": bool(self.forbidden or self.unchecked),
            "models": [_model(m) for m in self.models],
            "findings": [_finding(f) for f in self.findings],
        }
        if self.read is not None:
            content["read"] = {"share": rounded(self.read[0]), "bytes": self.read[1]}
        return json.dumps(content, indent=1, allow_nan=False).replace("<", "\\u003c") + "\n"


def counts(finding: Finding) -> bool:
    """Whether a finding makes the check fail."""
    return finding.level == "error" and finding.accepted is None


def steps(line: Line) -> list[dict[str, Any]]:
    """A way through the graph as plain data; of a long one its two ends."""
    ends = line if len(line) <= 2 * _ENDS else (*line[:_ENDS], *line[-_ENDS:])
    return [
        {
            "kind": step.kind,
            "child": step.child,
            "parent": step.parent,
            "relation": step.edge.relation if step.edge else None,
            "distance": step.edge.distance if step.edge else None,
            "direction_probability": step.edge.direction_probability if step.edge else None,
            **_unhidden(step.edge),
        }
        for step in ends
    ]


def _unhidden(edge: Edge | None) -> dict[str, Any]:
    """The test that joined two models of which one was hidden from the other, if so."""
    test = edge.relabelled if edge else None
    return {} if test is None else {"relabelled": {**asdict(test), "undone": list(test.undone)}}


def _model(m: ModelVerdict) -> dict[str, Any]:
    return {
        "id": m.id,
        "path": plain(m.path),
        "verdict": m.verdict,
        "reason": m.reason,
        "parent": m.parent,
        "licences": list(m.licences),
        "binding": [{"licence": b.licence, "model": b.model, "sure": b.sure} for b in m.binding],
        "inferred_licence": m.probably or None,
        "notes": list(m.notes),
        "claims": [
            {
                "key": judged.claim.key,
                "value": judged.claim.value,
                "file": plain(judged.claim.file),
                "line": judged.claim.line,
                "verdict": judged.verdict,
                "reason": judged.reason,
                "model": judged.model,
                "evidence": steps(judged.line),
            }
            for judged in m.claims
        ],
    }


def _finding(f: Finding) -> dict[str, Any]:
    return {
        "rule": RULES[f.rule].id,
        "name": f.rule,
        "level": f.level,
        "model": f.model,
        "message": f.message,
        "file": plain(f.file),
        "line": f.row,
        "evidence": steps(f.line),
        "accepted": f.accepted,
    }


def plain(path: Path) -> str:
    """A path or an address as text that can be stored, whatever bytes it is made of."""
    return shown(path).encode("utf-8", "replace").decode()
