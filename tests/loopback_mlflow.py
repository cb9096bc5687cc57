"""An MLflow server of what a test puts in, as far as mother asks it; experiments/stores/registry.py
holds it against the real one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_web import Handler, Web, serve

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class Registry:
    """versions: by name and number, the source of each; aliases: by name and alias, the number;
    logged: where the files of logged models lie, by their id. tags: what was written. page:
    versions on a page of a list."""

    web: Web
    versions: dict[tuple[str, str], str] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    logged: dict[str, str] = field(default_factory=dict)
    tags: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    page: int = 2

    @property
    def at(self) -> str:
        return self.web.at

    def add(self, name: str, version: str, files: dict[str, bytes]) -> None:
        top = f"{len(self.versions)}/run/artifacts/model"
        self.versions[name, version] = f"mlflow-artifacts:/{top}"
        for path, data in files.items():
            self.web.files[f"{ARTIFACTS}/{top}/{path}"] = data

    def about(self, which: tuple[str, str]) -> dict[str, Any]:
        tags = [{"key": k, "value": v} for k, v in self.tags.get(which, {}).items()]
        told = {"name": which[0], "version": which[1], "source": self.versions[which]}
        return {
            **told,
            "status": "READY",
            "current_stage": "None",
            **({"tags": tags} if tags else {}),
        }


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802
        split = urlsplit(self.path)
        if unquote(split.path).startswith(f"{ARTIFACTS}/") or self.web.faults.get(split.path):
            super().do_GET()
            return
        self.web.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        if self.web.allow and self.headers.get("Authorization") != self.web.allow:
            self._send(401, b"You are not authenticated.", {})
            return
        query = {k: v[0] for k, v in parse_qs(split.query).items()}
        call = split.path.removeprefix(API)
        self._answer(*self._list(query["path"]) if call == ARTIFACTS else self._told(call, query))

    def _told(self, call: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        registry: Registry = self.web.registry  # type: ignore[attr-defined]
        which = query.get("name", ""), query.get("version", "")
        if call.startswith("logged-models/"):
            model = call.partition("/")[2]
            if model not in registry.logged:
                return 404, {"message": f"Logged model with ID '{model}' not found."}
            return 200, {"model": {"info": {"artifact_uri": registry.logged[model]}}}
        if call == "model-versions/search":
            names = re.fullmatch(r"name=(['\"])(.*)\1", query.get("filter", ""))
            every = sorted(registry.versions, key=lambda w: (w[0], -int(w[1])))
            every = [w for w in every if names is None or w[0] == names[2]]
            start = int(query.get("page_token", "0"))
            stop = start + registry.page
            more = {"next_page_token": str(stop)} if stop < len(every) else {}
            return 200, {"model_versions": [registry.about(w) for w in every[start:stop]], **more}
        if call == "registered-models/alias":
            number = registry.aliases.get((which[0], query["alias"]))
            if number is None:
                return 400, {"message": f"Registered model alias {query['alias']} not found."}
            return 200, {"model_version": registry.about((which[0], number))}
        if which not in registry.versions:
            told = f"Model Version (name={which[0]}, version={which[1]}) not found"
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": told}
        if call == "model-versions/get-download-uri":
            return 200, {"artifact_uri": registry.versions[which]}
        return 200, {"model_version": registry.about(which)}

    def _list(self, path: str) -> tuple[int, dict[str, Any]]:
        top = f"{ARTIFACTS}/{path}/"
        files: dict[str, dict[str, Any]] = {}
        for name, data in self.web.files.items():
            if name.startswith(top):
                head, below, _ = name[len(top) :].partition("/")
                size = {} if below else {"file_size": len(data)}
                files[head] = {"path": head, "is_dir": bool(below), **size}
        return 200, {"files": list(files.values())}

    def _write(self) -> None:
        registry: Registry = self.web.registry  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.web.asked.append((f"{self.command} {self.path}", dict(self.headers)))
        tags = registry.tags.setdefault((body["name"], body["version"]), {})
        if self.path == f"{API}model-versions/set-tag":
            tags[body["key"]] = body["value"]
        else:
            del tags[body["key"]]
        self._answer(200, {})

    do_POST = do_DELETE = _write  # noqa: N815

    def _answer(self, status: int, told: dict[str, Any]) -> None:
        self._send(status, json.dumps(told).encode(), {"Content-Type": "application/json"})


@contextmanager
def serve_registry() -> Iterator[Registry]:
    with serve(_Handler) as web:
        web.registry = Registry(web)  # type: ignore[attr-defined]
        yield web.registry  # type: ignore[attr-defined]
