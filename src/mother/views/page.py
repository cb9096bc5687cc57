"""The forest as one HTML file that opens from disk and asks nobody for anything.

What a graph says is data in it, never markup: the JSON can't end its element, the script sets text
as text only, and the policy lets nothing run or load but what has the hash of our own files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib.resources import files
from math import isfinite
from typing import Any

from mother import __version__
from mother.graph import Edge, Hint, Inference, ModelGraph, Statement, rounded
from mother.graph.grades import needs
from mother.graph.verdict import Verdict, ancestor, of_edge, of_models
from mother.names import printable
from mother.views.blocks import grid
from mother.views.hints import said
from mother.views.outline import Item, outline
from mother.views.palette import OTHER, RELATIONS

#: each imports only from those before it
MODULES = (
    "names.js",
    "verdict.js",
    "blocks.js",
    "graphs.js",
    "address.js",
    "filters.js",
    "own.js",
    "dom.js",
    "source.js",
    "served.js",
    "forest.js",
    "layout.js",
    "colour.js",
    "draw.js",
    "canvas.js",
    "save.js",
    "list.js",
    "table.js",
    "matrix.js",
    "heat.js",
    "panel.js",
    "weights.js",
    "compare.js",
    "overview.js",
    "keys.js",
    "controls.js",
    "state.js",
    "views.js",
    "choose.js",
    "main.js",
)
PALETTE = {"relations": RELATIONS, "other": OTHER}
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def page(graph: ModelGraph, title: str = "Family forest") -> str:
    """The whole page. The same graph gives the same bytes.

    >>> print(page(ModelGraph("</script>"))[:15])
    <!doctype html>
    """
    return _framed(embedded(view(graph, title)))[0]


def live() -> tuple[str, str]:
    """The page that asks the server it comes from, and its content security policy.

    >>> text, policy = live()
    >>> policy.split("; ")[0], "connect-src 'self'" in policy
    ("default-src 'none'", True)
    """
    text, policy = _framed("null", "connect-src 'self'; ")
    return text, f"{policy}; frame-ancestors 'none'"


def _framed(graph: str, more: str = "") -> tuple[str, str]:
    vendor, script, style = _asset("vendor", "d3.min.js"), _script(), _asset("web", "page.css")
    policy = (
        f"default-src 'none'; script-src {digest(vendor)} {digest(script)}; "
        f"style-src {digest(style)}; {more}base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "style": style,
        "graph": graph,
        "vendor": vendor,
        "script": script,
    }
    frame = _asset("web", "page.html")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], frame), policy


def embedded(content: Any) -> str:
    r"""JSON that can stand inside a script element.

    >>> print(embedded("</script>"))
    "\u003c/script\u003e"
    """
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)


def view(graph: ModelGraph, title: str) -> dict[str, Any]:
    """What the page draws: the forest in preorder, parents by their place in it."""
    items = outline(graph)
    place = {item.id: k for k, item in enumerate(items)}
    compared = {
        item.node.architecture
        for item in items
        if item.node is not None and item.edge is not None and item.edge.changes
    }
    hints: dict[str, list[Hint]] = {}
    for hint in graph.hints:
        hints.setdefault(hint.model, []).append(hint)
    to: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        to.setdefault(edge.child, []).append(edge)
    told = of_models(graph)
    known = attributes(graph)
    grids = {key: asdict(grid(names)) for key, names in graph.layers.items() if key in compared}
    return {
        "about": {
            "title": title,
            "method": graph.method,
            # told and never asked for: some readers of JSON take no half of a surrogate pair
            "refused": [{k: printable(v) for k, v in asdict(r).items()} for r in graph.refused],
            "palette": PALETTE,
            "called": called((node.architecture, node.id) for node in graph.nodes),
            "tool": __version__,
            "inferred": bool(graph.inferred),
            "claims": bool(graph.hints),
        },
        "grids": grids,
        "items": [
            {
                **entry(item, place, hints.get(item.id, ()), told.get(item.id)),
                **_beside(item, to.get(item.id, ()), hints.get(item.id, ()), bool(hints)),
                **known.get(item.id, {}),
            }
            for item in items
        ],
    }


def attributes(graph: ModelGraph) -> dict[str, dict[str, Any]]:
    """By model, what is stated of it and what is inferred, by attribute, apart from each other."""
    found: dict[str, dict[str, Any]] = {}
    for told in graph.stated:
        of = found.setdefault(told.model, {}).setdefault("stated", {})
        of[told.attribute] = {"value": _value(told), "source": told.source}
    for guess in graph.inferred:
        of = found.setdefault(guess.model, {}).setdefault("inferred", {})
        figures = {x: rounded(getattr(guess, x), 3) for x in ("probability", "low", "high")}
        of[guess.attribute] = {"value": _value(guess), "why": guess.why, **figures}
    return found


def _value(of: Statement | Inference) -> str | float:
    return rounded(of.number) or 0.0 if of.number is not None else ", ".join(of.texts)


def entry(
    item: Item,
    place: Mapping[str, int],
    hints: Sequence[Hint] = (),
    verdict: Verdict | None = None,
) -> dict[str, Any]:
    """What the page knows of one model. place: of others that it names, by id. verdict: on it; by
    default what its own edge tells."""
    known: dict[str, Any] = {"p": item.parent, "name": item.id}
    if item.node is not None:
        known["node"] = _known(item.node, without=("id",))
        if hints:
            known["node"]["hints"] = [{"says": said(x), "agrees": x.agrees} for x in hints]
    if item.hidden is not None:
        known["hidden"] = {"polarity": rounded(item.hidden.polarity)}
        known["called"] = ancestor(item.hidden)
    if verdict is None and item.edge is not None:
        verdict = of_edge(item.edge)
    if verdict is not None:
        known["told"] = [verdict.grade, verdict.sentence, *verdict.figures]
    if item.edge is not None:
        known["edge"] = _known(item.edge, without=("parent", "child", "changes"))
        if item.edge.runner_up is not None and item.edge.runner_up in place:
            known["edge"]["runner"] = place[item.edge.runner_up]
        if item.also:
            known["edge"]["also"] = [
                {"name": e.parent, "share": rounded(e.share), "at": place.get(e.parent)}
                for e in item.also
            ]
        if item.edge.changes:
            known["changes"] = _changes(item.edge)
    return known


def _beside(
    item: Item, edges: Sequence[Edge], hints: Sequence[Hint], hinted: bool
) -> dict[str, Any]:
    """Why somebody has to look at it; nothing if nobody has."""
    why = needs(edges, item.node, hints, hinted=hinted)
    return {"needs": why} if why else {}


def called(models: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Architectures by the first model of each, for their digests say nothing to people. models:
    the architecture and the id of each.

    >>> called([("0af3", "base"), ("0af3", "kid")])
    {'0af3': 'like base'}
    """
    named: dict[str, str] = {}
    for architecture, id_ in models:
        named.setdefault(printable(architecture), f"like {printable(id_)}")
    return named


def _known(item: Any, without: tuple[str, ...]) -> dict[str, Any]:
    """Without what is empty: at 50,000 models it is half of the page."""
    names = (field.name for field in fields(item) if field.name not in without)
    plain = {name: _plain(getattr(item, name)) for name in names}
    return {k: v for k, v in plain.items() if not (v is None or v is False or v in ("", []))}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value)
    if is_dataclass(value):
        return _known(value, ())
    if isinstance(value, tuple):
        return [_known(x, ()) if is_dataclass(x) else _plain(x) for x in value]
    return value


def _changes(edge: Edge) -> str:
    """As one string, which is read as numbers only when the model is looked at."""
    return " ".join("-" if x is None or not isfinite(x) else f"{x:.3g}" for x in edge.changes)


def _script() -> str:
    """The modules as one, each in a scope of its own: a page has no address to import from."""
    parts = []
    for module in MODULES:
        text = _asset("web", module)
        exports = [name for _, name in _EXPORT.findall(text)]
        text = _IMPORT.sub(lambda m: f"const {{{m[1]}}} = {_scope(m[2])};", text)
        body = _EXPORT.sub(r"\1", text)
        names = ", ".join(exports)
        parts.append(f"const {_scope(module)} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();")
    return "\n".join(parts)


def _scope(module: str) -> str:
    return f"m_{module.removesuffix('.js')}"


def _asset(folder: str, name: str) -> str:
    return (files("mother.views") / folder / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """What lets a content security policy run that text and no other."""
    whole = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{whole}'"
