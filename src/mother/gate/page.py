"""A report as one HTML file to read and to print. It runs nothing and loads nothing; whatever names
are, they are text in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from mother.gate.binding import in_words
from mother.gate.policy import RULES
from mother.gate.report import Finding, ModelVerdict, Report, plain
from mother.graph.facts import many, read
from mother.names import printable

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
html { background: light-dark(#fff, #14171b); color: light-dark(#1b1f24, #e6e9ed); }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .375rem .75rem .375rem 0;
  border-bottom: 1px solid light-dark(#d8dee4, #343a42); overflow-wrap: anywhere; }
th { font-weight: 600; }
.findings th:nth-child(1) { width: 8%; } .findings th:nth-child(2) { width: 14%; }
.findings th:nth-child(4) { width: 22%; }
.models th:nth-child(1) { width: 18%; } .models th:nth-child(2) { width: 12%; }
.models th:nth-child(4) { width: 22%; }
.error, .contradicted { color: light-dark(#a3333d, #f28b8b); font-weight: 600; }
.warn, .undeclared { color: light-dark(#8a4b00, #f2c078); font-weight: 600; }
.confirmed { color: light-dark(#0b57d0, #8ab8ff); font-weight: 600; }
small { color: light-dark(#57606a, #a3acb8); }
@media (max-width: 48rem) {
  thead { display: none; }
  tr { display: block; padding: .5rem 0; }
  td { display: block; border: 0; padding: 0; }
}
@media print { body { margin: 0; max-width: none; font-size: 9pt; } tr { break-inside: avoid; } }
"""


def page(report: Report, version: str) -> str:
    """The whole page: what is forbidden first, then every model. version: of the tool. The same
    report gives the same bytes.

    >>> print(page(Report((), ()), "1.0")[:15])
    <!doctype html>
    """
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    stopped = len(report.forbidden) + len(report.unchecked)
    outcome = f"{stopped} forbidden" if stopped else "nothing forbidden"
    heads = ("Model", "What it claims", "Why", "Licences that bind it")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Claims and licences: {outcome}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Claims and licences: {outcome}</h1>",
        f"<p><small>mother check {escape(version)}. Claims come from the models' files, the rest "
        "from their weights. A reading of licences by a machine, and no legal advice.</small></p>",
        *(f"<p>{escape(line)}</p>" for line in _read(report)),
        *(_table("Findings", ("Level", "Rule", "What", "Where"), map(_finding, report.findings))),
        *(_table("Models", heads, map(_model, report.models))),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _read(report: Report) -> Iterable[str]:
    """What was read, and what is there twice."""
    yield many(len(report.models), "model")
    if report.read is not None:
        yield read(*report.read)
    yield from report.copies


def _finding(f: Finding) -> tuple[str, ...]:
    level = "accepted" if f.accepted is not None else f.level
    said = f"{f.message} (accepted: {printable(f.accepted)})" if f.accepted else f.message
    where = plain(f.file) + (f":{f.row}" if f.row is not None else "")
    rule = f"{RULES[f.rule].id} {f.rule}"
    return (_marked(level), escape(rule), escape(printable(said)), escape(printable(where)))


def _model(m: ModelVerdict) -> tuple[str, ...]:
    bound = printable(in_words(m.binding, m.id)) or "none stated"
    return (
        escape(printable(m.id)),
        _marked(m.verdict),
        escape(printable(m.reason)) + "".join(f"<br><small>{x}</small>" for x in _notes(m)),
        escape(bound),
    )


def _notes(m: ModelVerdict) -> Iterable[str]:
    """On its files, and which licence its relatives let expect."""
    if m.probably:
        yield escape(printable(f"inferred, decides nothing: licence {m.probably}"))
    yield from (escape(printable(note)) for note in m.notes)


def _marked(word: str) -> str:
    return f'<span class="{escape(word)}">{escape(word)}</span>'


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    body = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    yield f"<h2>{title}</h2>"
    if not body:
        yield "<p>None.</p>"
        return
    names = "".join(f"<th>{head}</th>" for head in heads)
    yield f'<table class="{title.lower()}"><thead><tr>{names}</tr></thead><tbody>'
    yield from body
    yield "</tbody></table>"
