"""Model versions of an MLflow registry, over its REST API.

models:/NAME/VERSION, models:/NAME@ALIAS and models:/NAME for all versions, in the registry of
MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI; mlflow:// for all models in it; mlflow://HOST[:PORT]
with the same behind it for another; models:/m-… for a logged model of MLflow 3, which need be no
version of any. https://mlflow.org/docs/latest/rest-api.html
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from mother.errors import InputError
from mother.hub import stores
from mother.hub.addresses import is_inside
from mother.hub.answers import Answers
from mother.hub.credentials import mlflow_file
from mother.hub.files import RangedFile
from mother.hub.mirrors import Entry, Opened, digest, mirror
from mother.hub.patience import patiently
from mother.hub.schemes import Tags, is_known, public, refused
from mother.hub.web import SERVER, StatusError, asked, body_of, ranged

#: files of a version, folders among them, and versions of a registry
MAX_FILES, MAX_FOLDERS, MAX_VERSIONS = 20_000, 2_000, 100_000
#: versions on a page of a list, and bytes of an answer
_PAGE, _MAX_ANSWER = 1000, 32 << 20
#: versions whose files are listed at once
_ASKED = 8
#: letters of a tag's value, of which MLflow keeps 5,000
MAX_TAG = 5000
#: what the keys of our tags start with
OURS = "mother."
#: the fault of a server that answers otherwise than MLflow
NO_MLFLOW = "no MLflow answers there"
#: what is raised where an answer is not what it should be
_LIES = (KeyError, TypeError, AttributeError, ValueError)
#: where MLflow looks for its registry, in this order
_VARIABLES = ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI")
#: the id of a logged model
_LOGGED = re.compile(r"m-[0-9a-f]{32}")
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class Version:
    """A version of a registered model, or a logged model. host: where its registry is; start: what
    its address starts with, "models:" or "mlflow://HOST". version: "" for all of them; alias: in
    its place. path: of a file in it."""

    host: str
    start: str
    name: str = ""
    version: str = ""
    alias: str = ""
    path: str = ""

    def __str__(self) -> str:
        which = f"@{self.alias}" if self.alias else ""
        parts = (self.start, self.name + which, self.version, self.path)
        return "/".join(part for part in parts if part)


def parse(address: str) -> Version:
    """The parts of an address. Raises InputError.

    >>> v = parse("mlflow://127.0.0.1:5000/kid/3/data/model.pth")
    >>> v.host, v.name, v.version, v.path
    ('http://127.0.0.1:5000', 'kid', '3', 'data/model.pth')
    """
    scheme, _, rest = address.partition(":")
    if scheme == "models":
        host, start, rest = _default(address), "models:", rest.lstrip("/")
    else:
        where, _, rest = rest.lstrip("/").partition("/")
        local = re.fullmatch(r"(.*@)?(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", where)
        host = f"http{'' if local else 's'}://{where}" if where else _default(address)
        start = public(f"mlflow://{urlsplit(host).netloc}") if where else "models:"
    name, _, rest = rest.rstrip("/").partition("/")
    name, _, alias = name.partition("@")
    alone = alias or _LOGGED.fullmatch(name)
    version, path = ("", rest) if alone else (rest.partition("/")[0], rest.partition("/")[2])
    if (rest and not name) or (path and not is_inside(path)):
        raise refused(address, "no address of a model version; give models:/NAME/VERSION")
    return Version(host.rstrip("/"), start, name, version, alias, path)


def _default(address: str) -> str:
    """The registry that MLflow's own variables name."""
    known = {name: os.environ.get(name, "") for name in _VARIABLES}
    for found in known.values():
        if found.startswith(("http://", "https://")):
            return found.rstrip("/")
    other = next((name for name, found in known.items() if found), "")
    what = f"{other} names no server" if other else "no registry is known"
    raise refused(address, f"{what}; set MLFLOW_TRACKING_URI to the https://… of `mlflow server`")


def opened(address: str, download: bool) -> Iterator[Opened | InputError]:
    """The versions that an address names, and why others can't be opened. Raises InputError."""
    try:
        yield from _named(address, download)
    except _LIES:
        raise refused(address, NO_MLFLOW) from None


def _named(address: str, download: bool) -> Iterator[Opened | InputError]:
    at = parse(address)
    if _LOGGED.fullmatch(at.name) and not at.alias:
        yield _mirrored(at, _logged(at, at.name), at.name, download)
        return
    if at.version.isdecimal():
        yield _opened(
            at, _call(at, "model-versions/get", name=at.name, version=at.version), download
        )
        return
    if at.alias:
        found = _call(at, "registered-models/alias", name=at.name, alias=at.alias)
        at = replace(at, alias="", version=str(found["model_version"]["version"]))
        yield _opened(at, found, download)
        return
    found = _versions(at)
    if at.version:  # "latest", or a stage
        stage = at.version.lower()
        of = [v for v in found if stage in ("latest", str(v.get("current_stage")).lower())]
        if not of:
            raise refused(address, "no version is called so; give a number, an @alias or latest")
        newest = max(of, key=lambda v: int(v["version"]))
        at = replace(at, version=str(newest["version"]))
        yield _opened(at, {"model_version": newest}, download)
        return
    if not found:
        raise refused(address, "has no versions that can be seen")

    def one(v: Any) -> Opened | InputError:
        own = replace(at, name=str(v["name"]), version=str(v["version"]))
        try:
            return _opened(own, {"model_version": v}, download)._replace(many=True)
        except InputError as error:
            return error
        except _LIES:
            return refused(str(own), NO_MLFLOW)

    with ThreadPoolExecutor(_ASKED) as threads:
        yield from threads.map(one, found)


def _versions(at: Version) -> list[Any]:
    """All of a model, or of the registry, in order."""
    found: list[Any] = []
    query = {"max_results": str(_PAGE)}
    if at.name:
        mark = '"' if "'" in at.name else "'"
        query["filter"] = f"name={mark}{at.name}{mark}"
    while True:
        page = _call(at, "model-versions/search", **query)
        found += page.get("model_versions", [])
        if len(found) > MAX_VERSIONS:
            raise refused(str(at), f"has more than {MAX_VERSIONS} versions; name a model")
        if not page.get("model_versions") or not page.get("next_page_token"):
            break
        query["page_token"] = page["next_page_token"]
    good = [v for v in found if isinstance(v, dict) and str(v.get("version")).isdecimal()]
    return sorted(good, key=lambda v: (str(v.get("name")), int(v["version"])))


def _opened(at: Version, about: Any, download: bool) -> Opened:
    """The mirror of one version."""
    about = about.get("model_version")
    if not isinstance(about, dict) or not re.fullmatch(r"[^/:\0]+", at.name):
        raise refused(str(at), "the registry sends no model version")
    where = _call(at, "model-versions/get-download-uri", name=at.name, version=at.version)
    uri = str(where.get("artifact_uri", ""))
    known = _LOGGED.fullmatch(uri.removeprefix("models:/"))
    return _mirrored(
        at, _logged(at, known[0]) if known else uri, f"{at.name}:{at.version}", download
    )


def _logged(at: Version, model: str) -> str:
    """Where the files of a logged model lie."""
    return str(_call(at, f"logged-models/{model}")["model"]["info"]["artifact_uri"])


def _mirrored(at: Version, uri: str, name: str, download: bool) -> Opened:
    """The mirror of files that a registry serves or its store has."""
    called, split = str(replace(at, path="")), urlsplit(uri)
    if split.scheme == "mlflow-artifacts" and split.netloc in ("", urlsplit(at.host).netloc):
        top = split.path.strip("/")
        entries = dict(_files(at, top))
        urls = {each: f"{at.host}{_ARTIFACTS}/{quote(f'{top}/{each}')}" for each in entries}
        reader = partial(_reader, called, urls, download, _headers(at.host))
        place = (digest(at.host, called, download, sorted(entries.items())), "mlflow", name)
        found = mirror(called, place, entries, reader)
    elif is_known(split.scheme) and split.scheme not in (*stores.NO_PLACES, "http", "https"):
        found = stores.placed(uri.replace("abfss:", "abfs:"), called, name).mirror
    else:
        mend = "have the server serve them (mlflow server --artifacts-destination …)"
        raise refused(called, f"its files lie at {uri[:200]!r}, for the server alone; {mend}")
    return Opened(found, found.root / at.path, name=name)


def _reader(
    called: str, urls: Mapping[str, str], download: bool, headers: Mapping[str, str],
    path: Path, name: str, entry: Entry,
) -> RangedFile:  # fmt: skip
    source = Answers(
        urls[name], entry.size, partial(ranged, headers=headers), REGISTRY, whole=download
    )
    return RangedFile(path, f"{called}/{name}", source, entry.size, tag=entry.tag)


def _files(at: Version, top: str) -> Iterator[tuple[str, Entry]]:
    """The files below a folder of artifacts, by their paths in it. MLflow lists a folder at a time,
    and tells no tag: that of a run is as good, whose artifacts are written once."""
    folders, seen, listed = [""], 0, 0
    while folders:
        folder = folders.pop(0)
        listed += 1
        if listed > MAX_FOLDERS:
            raise refused(str(at), f"has more than {MAX_FOLDERS} folders")
        path = f"{top}/{folder}".rstrip("/")
        for each in _json(at, f"{_ARTIFACTS}?{urlencode({'path': path})}").get("files", []):
            name = f"{folder}/{each['path']}".lstrip("/")
            if not is_inside(name):
                raise refused(str(at), "names a file outside its folder")
            if each.get("is_dir"):
                folders.append(name)
                continue
            seen += 1
            size = int(each.get("file_size", 0))
            if seen > MAX_FILES or not 0 <= size < 2**62:
                raise refused(str(at), f"has more than {MAX_FILES} files, or one without a size")
            yield name, Entry(size, f"{top}/{name}")


def _call(at: Version, call: str, **query: str) -> Any:
    return _json(at, f"{_API}/{call}" + (f"?{urlencode(query)}" if query else ""))


def _json(at: Version, path: str, method: str = "GET", body: Any = None) -> Any:
    """The object that the registry answers. Raises InputError."""

    def work() -> Any:
        headers = _headers(at.host)
        with asked(at.host + path, headers, method=method, body=body) as response:
            found = json.loads(body_of(response, _MAX_ANSWER) or b"{}")
        if not isinstance(found, dict):
            raise ValueError(NO_MLFLOW)
        return found

    return patiently(str(at), work, REGISTRY)


def _fault(error: Exception) -> str:
    if isinstance(error, StatusError) and error.response.status_code in (401, 403):
        mend = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return f"the registry answers {error}: {mend}"
    if isinstance(error, StatusError):
        try:
            told = str(json.loads(error.said)["message"])
        except (ValueError, KeyError, TypeError):
            told = ""
        if told:
            return f"the registry answers {error}: {' '.join(told.split())[:200]}"
        if error.response.status_code == 404:
            return f"{NO_MLFLOW} ({error}); check MLFLOW_TRACKING_URI"
    if isinstance(error, json.JSONDecodeError):
        return f"{NO_MLFLOW}; check MLFLOW_TRACKING_URI"
    return SERVER.fault(error)


REGISTRY = replace(SERVER, who="the registry", fault=_fault)


def _headers(host: str) -> dict[str, str]:
    """By MLflow's own variables and file, for the server that these name, or for any where they
    name none."""
    named = [os.environ.get(name, "") for name in _VARIABLES]
    named = [each for each in named if each.startswith("http")]
    if named and urlsplit(host).netloc not in [urlsplit(each).netloc for each in named]:
        return {}
    kept = configparser.ConfigParser(interpolation=None)
    kept.read(mlflow_file())

    def known(key: str) -> str:
        return os.environ.get(key.upper()) or kept.get("mlflow", key, fallback="") or ""

    user, word = known("mlflow_tracking_username"), known("mlflow_tracking_password")
    if user:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{word}'.encode()).decode()}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def ground(address: str) -> str:
    """The address of the model that an address lies in, or of its registry.

    >>> ground("mlflow://127.0.0.1:5000/kid/3"), ground("mlflow://127.0.0.1:5000")
    ('mlflow://127.0.0.1:5000/kid', 'mlflow://127.0.0.1:5000')
    """
    return str(replace(parse(address), version="", alias="", path=""))


def unit(address: str) -> str:
    """The address of the model version that an address lies in.

    >>> unit("mlflow://127.0.0.1:5000/kid/3/data/model.pth")
    'mlflow://127.0.0.1:5000/kid/3'
    """
    return str(replace(parse(address), path=""))


def write(address: str, tags: Mapping[str, str]) -> None:
    """Put tags on the model version at an address, and take those of ours off that are not among
    them. Raises InputError."""
    at = parse(address)
    if not at.version:
        raise refused(address, "a logged model; tags go to versions of registered models")
    which = {"name": at.name, "version": at.version}
    about = _call(at, "model-versions/get", **which)
    try:
        tags_there = about["model_version"].get("tags", [])
        before = {str(tag["key"]): tag.get("value") for tag in tags_there}
    except _LIES:
        raise refused(address, NO_MLFLOW) from None
    for key, value in tags.items():
        if before.get(key) != value[:MAX_TAG]:
            body = {**which, "key": key, "value": value[:MAX_TAG]}
            _json(at, f"{_API}/model-versions/set-tag", "POST", body)
    for key in before:
        if key.startswith(OURS) and key not in tags:
            body = {**which, "key": key}
            _json(at, f"{_API}/model-versions/delete-tag", "DELETE", body)


TAGS = Tags(unit, write)
