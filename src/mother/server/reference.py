"""The OpenAPI document, and the same as a page that loads nothing and runs nothing."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import FastAPI

from mother.views.page import digest

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457: what went wrong, in one line.",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_COMMON = {
    400: "An address that is too long, or a body that is no JSON",
    403: "Another Host or Origin, or a path outside the folders allowed",
    404: "No such model, file or folder",
    422: "Not as described, or a checkpoint that can't be read",
}
_HEAVY = {
    408: "The body did not come in time",
    413: "The body is too large",
    415: "The body is not application/json",
    500: "The work ended without an answer",
    503: "Busy; Retry-After tells when to ask again",
    504: "Not done in time",
}
_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
html { background: light-dark(#fff, #121212); color: light-dark(#111, #eee); }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
a { color: light-dark(#0645ad, #8ab4f8); }
h2 { margin: 2.5rem 0 0; font: 600 1.1rem ui-monospace, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: 4px; }
"""


def document(app: FastAPI) -> dict[str, Any]:
    """What FastAPI knows of the routes, with the form that our errors have."""
    described = app.openapi()
    schemas = described["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    for operations in described["paths"].values():
        for method, operation in operations.items():
            for status, says in (_COMMON | (_HEAVY if method == "post" else {})).items():
                operation["responses"][str(status)] = {
                    "description": says,
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    },
                }
    return described


def reference(described: dict[str, Any]) -> tuple[str, str]:
    """The page, and its content security policy."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8"><title>mother: API</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style><main>",
        f"<h1>mother {escape(described['info']['version'])}: API</h1>",
        f"<p>{escape(described['info']['description'])} As a document for tools: "
        '<a href="/api/openapi.json">openapi.json</a>. <a href="/">The forest</a>.</p>',
    ]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2>{escape(method.upper())} {escape(path)}</h2>")
            parts.append(f"<p>{escape(operation['description'])}</p>")
            parts += _parameters(operation)
            parts += _body(operation, described)
            parts += _responses(operation)
    parts.append("<h1>What is answered</h1>")
    for name, schema in described["components"]["schemas"].items():
        text = escape(json.dumps(schema, indent=1))
        parts.append(f"<details><summary>{escape(name)}</summary><pre>{text}</pre></details>")
    policy = (
        f"default-src 'none'; style-src {digest(_STYLE)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    parts.append("</main>")
    return "\n".join(parts) + "\n", policy


def _parameters(operation: dict[str, Any]) -> list[str]:
    rows = [
        (p["name"], "required" if p.get("required") else "", p.get("description", ""))
        for p in operation.get("parameters", ())
    ]
    return _table("Parameters", rows) if rows else []


def _body(operation: dict[str, Any], described: dict[str, Any]) -> list[str]:
    if "requestBody" not in operation:
        return []
    (kind, content), *_ = operation["requestBody"]["content"].items()
    if "$ref" not in content["schema"]:
        return [f"<p>Body: {escape(kind)}</p>"]
    name = content["schema"]["$ref"].split("/")[-1]
    fields = described["components"]["schemas"][name]["properties"]
    return _table("Body (JSON)", [(k, "required", v["description"]) for k, v in fields.items()])


def _responses(operation: dict[str, Any]) -> list[str]:
    rows = []
    for status, response in sorted(operation["responses"].items()):
        content = next(iter(response["content"].items()))
        kind = content[1].get("schema", {}).get("$ref", "").split("/")[-1]
        rows.append((status, kind, response["description"]))
    return _table("Answers", rows)


def _table(heading: str, rows: list[tuple[str, str, str]]) -> list[str]:
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return [f"<table><caption>{heading}</caption>{body}</table>"]
