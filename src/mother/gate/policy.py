"""What a check forbids: the rules, and the TOML file that changes them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from mother.errors import UsageError
from mother.gate.licences import DEFAULT, normalised
from mother.graph.documents import read_text
from mother.names import printable

LEVELS = ("error", "warn", "note", "off")
#: bytes of a policy, and dots in one of its lines: keys of many parts take the square of that
MAX_POLICY, MAX_DOTS = 1 << 18, 100
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Rule:
    """level: what it is without a policy. says: what it stands for, in one sentence."""

    id: str
    name: str
    level: str
    says: str


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "MOTHER001",
            "contradicted",
            "error",
            "A claimed parent is among the inputs, and the weights say that it is none.",
        ),
        Rule(
            "MOTHER002",
            "undeclared",
            "warn",
            "The weights show where the model comes from, and it names no parent.",
        ),
        Rule(
            "MOTHER003",
            "unknown",
            "note",
            "The weights can't tell whether the claim is right.",
        ),
        Rule(
            "MOTHER004",
            "unnamed-parent",
            "warn",
            "The weights show a parent, and the names that the model claims lead elsewhere.",
        ),
        Rule("MOTHER005", "unreadable", "error", "The weights can't be read."),
        Rule("MOTHER006", "metadata", "error", "A card or another claim can't be read."),
        Rule(
            "MOTHER007",
            "denied",
            "error",
            "The model is on the deny list, or comes from one that is.",
        ),
        Rule(
            "MOTHER008",
            "licence",
            "error",
            "The licence of the model it was made from forbids the licence that it carries.",
        ),
        Rule(
            "MOTHER009",
            "laundered",
            "error",
            "A licence further up, or of another copy, forbids the licence that it carries.",
        ),
        Rule(
            "MOTHER010",
            "possible",
            "warn",
            "It would be forbidden if an edge whose direction the weights leave open points so.",
        ),
        Rule(
            "MOTHER011",
            "unlicensed",
            "warn",
            "It states no licence, and comes from a model whose licence sets terms.",
        ),
        Rule(
            "MOTHER012",
            "unknown-licence",
            "warn",
            "A licence is not in the table, so that it can't be told whether it is kept.",
        ),
        Rule(
            "MOTHER013",
            "copy",
            "warn",
            "The model is claimed to be tuned or merged, and holds its parent's very weights.",
        ),
        Rule(
            "MOTHER014",
            "unread",
            "note",
            "Beside a model lie weights that were not looked at, likely the same once more.",
        ),
    )
}


@dataclass(frozen=True)
class Accepted:
    """A finding that somebody has looked at and accepts."""

    model: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Policy:
    """levels: of the rules, by name. deny: names and sha256:… of files. licences: what the
    descendants of each may carry. certainty: direction probability from which an edge counts."""

    levels: Mapping[str, str] = field(
        default_factory=lambda: {r.name: r.level for r in RULES.values()}
    )
    deny: tuple[str, ...] = ()
    licences: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(DEFAULT))
    certainty: float = 0.8
    accepted: tuple[Accepted, ...] = ()

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Policy:
        """Read a policy file. InputError names the file; where it is no policy, UsageError names
        the key, too."""
        text = read_text(path, MAX_POLICY)
        try:
            return cls.parse(text)
        except ValueError as fault:
            raise UsageError(f"{path}: {printable(str(fault))}") from None

    @classmethod
    def parse(cls, text: str) -> Policy:
        """From TOML. ValueError names the key and the fault.

        >>> policy = Policy.parse('deny = ["org/leaked"]\\n[rules]\\nundeclared = "error"')
        >>> policy.levels["undeclared"], policy.deny
        ('error', ('org/leaked',))
        >>> Policy.parse('[rules]\\nundeclared = "bad"')
        Traceback (most recent call last):
            ...
        ValueError: rules.undeclared: 'bad' is not one of error, warn, note, off
        """
        content = _toml(text)
        known = ("rules", "licences", "deny", "certainty", "accept")
        for key in content:
            _one_of(key, known, "the policy's keys")
        plain = cls()
        return cls(
            {**plain.levels, **_levels(_table(content, "rules"))},
            tuple(map(_denied, _strings(content.get("deny", []), "deny"))),
            {**plain.licences, **_licences(_table(content, "licences"))},
            _certainty(content.get("certainty", plain.certainty)),
            tuple(_accepted(content.get("accept", []))),
        )


def _toml(text: str) -> dict[str, Any]:
    deep = next((n for n, x in enumerate(text.split("\n"), 1) if x.count(".") > MAX_DOTS), None)
    if deep is not None:
        raise ValueError(f"line {deep}: more than {MAX_DOTS} dots")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise ValueError("not TOML: a number is too large") from None
    except RecursionError:
        raise ValueError("not TOML: nested too deeply") from None


def _one_of(key: str, known: tuple[str, ...], what: str) -> None:
    if key not in known:
        raise ValueError(f"{key}: not among {what}, {', '.join(known)}")


def _table(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise ValueError(f"{key}: not a table")
    return table


def _strings(value: object, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(x, str) and x for x in value):
        raise ValueError(f"{key}: not a list of names")
    return value


def _levels(table: Mapping[str, Any]) -> dict[str, str]:
    for name, level in table.items():
        if name not in RULES:
            raise ValueError(f"rules.{name}: no such rule; there are {', '.join(RULES)}")
        if level not in LEVELS:
            raise ValueError(f"rules.{name}: {level!r} is not one of {', '.join(LEVELS)}")
    return dict(table)


def _licences(table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        normalised(licence): tuple(map(normalised, _strings(allowed, f"licences.{licence}")))
        for licence, allowed in table.items()
    }


def _denied(name: str) -> str:
    if name.lower().startswith("sha256:"):
        if not _SHA256.fullmatch(name.lower()):
            raise ValueError(f"deny: {name!r} is not sha256: and 64 hexadecimal digits")
        return name.lower()
    return name


def _certainty(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= 1:
        raise ValueError(f"certainty: {value!r} is not a number from 0.5 to 1")
    return float(value)


def _accepted(items: object) -> list[Accepted]:
    if not isinstance(items, list):
        raise ValueError("accept: not a list of tables; write [[accept]]")
    accepted = []
    for number, item in enumerate(items, 1):
        where = f"accept number {number}"
        keys = ("model", "rule", "reason")
        if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in keys):
            raise ValueError(f"{where}: needs model, rule and reason")
        for key in item:
            _one_of(key, keys, f"the keys of {where}")
        if item["rule"] not in RULES:
            raise ValueError(f"{where}: rule {item['rule']!r} is none of {', '.join(RULES)}")
        accepted.append(Accepted(item["model"], item["rule"], item["reason"]))
    return accepted
