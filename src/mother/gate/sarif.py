"""A report as SARIF 2.1.0, which code scanning services read.

Format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mother.gate.policy import RULES
from mother.gate.report import Finding, Report, steps
from mother.graph import rounded
from mother.hub import is_address, shown

VERSION = "2.1.0"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warn": "warning", "note": "note", "off": "none"}


def to_sarif(report: Report, version: str, root: str | os.PathLike[str] = ".") -> str:
    """The findings as a SARIF log with one run.

    version: of the tool. root: the folder that files are told relative to; what lies outside is
    told by its absolute address. The same report gives the same bytes.
    """
    rules = list(RULES)
    base = os.path.abspath(root)  # noqa: PTH100  (without following symlinks)
    log = {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "mother",
                        "semanticVersion": version,
                        "rules": [_rule(name) for name in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(f, rules.index(f.rule), base) for f in report.findings],
                **_looked_at(report),
            }
        ],
    }
    return json.dumps(log, indent=1, allow_nan=False).replace("<", "\\u003c") + "\n"


def _looked_at(report: Report) -> dict[str, Any]:
    """Which share of the bytes was read where it was not all; and what is to be noted of models'
    files, such as the share of their weights that was compared, findings or none."""
    told: dict[str, Any] = {m.id: list(m.notes) for m in report.models if m.notes}
    known: dict[str, Any] = {"notes": told} if told else {}
    if report.read is not None:
        known["read"] = {"share": rounded(report.read[0]), "bytes": report.read[1]}
    return {"properties": known} if known else {}


def _rule(name: str) -> dict[str, Any]:
    rule = RULES[name]
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.says},
        "defaultConfiguration": {"level": _LEVELS[rule.level]},
    }


def _result(finding: Finding, index: int, root: str) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(finding.file, root)}
    if finding.row is not None:
        location["region"] = {"startLine": finding.row}
    told = "\0".join((finding.rule, finding.model, finding.about))
    result: dict[str, Any] = {
        "ruleId": RULES[finding.rule].id,
        "ruleIndex": index,
        "level": _LEVELS[finding.level],
        "message": {"text": _literal(finding.message)},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"finding/v1": hashlib.sha256(told.encode()).hexdigest()[:32]},
        "properties": {"model": finding.model, "evidence": steps(finding.line)},
    }
    if finding.accepted is not None:
        result["suppressions"] = [{"kind": "external", "justification": finding.accepted}]
    return result


def _artifact(path: Path, root: str) -> dict[str, str]:
    called = shown(path)
    if is_address(called):
        return {"uri": quote(called, safe="/:@")}
    whole = os.path.abspath(path)  # noqa: PTH100  (without following symlinks)
    if os.path.commonpath((whole, root)) == root and whole != root:
        return {"uri": quote(os.fsencode(os.path.relpath(whole, root))), "uriBaseId": "%SRCROOT%"}
    return {"uri": f"file://{quote(os.fsencode(whole))}"}


def _literal(text: str) -> str:
    """Text in which nothing is a placeholder or a link (3.11.5, 3.11.6).

    >>> _literal("{0} [a](b)")
    '{{0}} \\\\[a](b)'
    """
    return text.replace("{", "{{").replace("}", "}}").replace("[", "\\[")
