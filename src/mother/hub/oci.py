"""Models in registries of containers: oci://HOST/NAME[:TAG|@sha256:…][/PATH].

ModelKits of KitOps and model-spec artifacts of the CNCF: a manifest whose layers are files, raw or
in a tar archive, of which ranges are read. A compressed layer has none.

https://github.com/opencontainers/distribution-spec, https://github.com/modelpack/model-spec,
https://kitops.org/docs/modelkit/spec
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mother.errors import InputError
from mother.hub.addresses import is_inside
from mother.hub.answers import Answers
from mother.hub.credentials import registry_files
from mother.hub.files import LEAST, RangedFile
from mother.hub.mirrors import Entry, Opened, digest, mirror
from mother.hub.patience import Manners, patiently
from mother.hub.schemes import public, refused
from mother.hub.web import SERVER, StatusError, asked, body_of, followed
from mother.hub.web import ranged as web_ranged

#: bytes of a manifest, as registries bound them, and of a token; files of an artifact
MAX_MANIFEST, MAX_TOKEN, MAX_FILES = 4 << 20, 1 << 20, 20_000
#: bytes of one piece of a tar archive that is no file's content
MAX_HEADER = 1 << 20
_ADDRESS = re.compile(
    r"(?P<host>[^/@]+)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?:/(?P<path>.*))?",
    re.ASCII,
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LOCAL = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
#: layers that hold a model or what describes it, and the form that each is in
_LAYER = re.compile(
    r"application/vnd\.(?:kitops\.modelkit\.(?P<kit>model|modelpart|docs)"
    r"|(?:cncf|cnai)\.model\.(?P<spec>weight|weight\.config|doc|layer)"
    r"|docker\.ai\.(?P<docker>gguf|safetensors))\.v\d+(?:\.(?P<form>[a-z+]+))?"
)
_NAMED = ("org.cncf.model.filepath", "org.cnai.model.filepath", "org.opencontainers.image.title")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Repository:
    """One repository of a registry, and the right to read it."""

    host: str
    name: str
    authorization: str = ""
    refused: list[InputError] = field(default_factory=list)

    @property
    def at(self) -> str:
        """Where its API is; http for this machine alone, as Docker does."""
        return f"http{'' if _LOCAL.fullmatch(self.host) else 's'}://{self.host}/v2/{self.name}"

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """The answer to a request, with a token if one is asked for."""
        with self._let_in(lambda own: asked(url, {**headers, **own})) as response:
            yield response

    @contextmanager
    def ranged(self, url: str, start: int, stop: int, *, known: bool) -> Iterator[Any]:
        """The answer to a request for bytes [start, stop)."""
        wanted = partial(web_ranged, url, start, stop, known=known)
        with self._let_in(lambda own: wanted(headers=own)) as response:
            yield response

    @contextmanager
    def _let_in(
        self, ask: Callable[[dict[str, str]], AbstractContextManager[Any]]
    ) -> Iterator[Any]:
        with ExitStack() as stack:
            try:
                response = stack.enter_context(ask(self._headers))
            except StatusError as error:
                if error.response.status_code != 401:
                    raise
                self._authorize(error)
                response = stack.enter_context(ask(self._headers))
            yield response

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization} if self.authorization else {}

    def _authorize(self, error: StatusError) -> None:
        """As the answer that refuses says: https://distribution.github.io/distribution/spec/auth.
        A token is asked for where the registry says, which hears the user's name and password."""
        told = error.response.headers.get("WWW-Authenticate", "")
        basic = _basic(self.host)
        kind, _, rest = told.partition(" ")
        if kind.lower() == "basic" and basic and self.authorization != basic:
            self.authorization = basic
            return
        given = dict(_PARAMETER.findall(rest))
        if kind.lower() != "bearer" or "realm" not in given:
            raise error
        query = {"service": given.get("service", ""), "scope": f"repository:{self.name}:pull"}
        realm = followed(self.at, given["realm"])
        headers = {"Authorization": basic} if basic else {}
        with asked(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", headers) as answer:
            found = json.loads(body_of(answer, MAX_TOKEN))
        token = found.get("token") or found.get("access_token") if isinstance(found, dict) else ""
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            raise ValueError("the registry gives no token")
        self.authorization = f"Bearer {token}"


def _basic(host: str) -> str:
    """The name and password for a registry that `docker login` or `podman login` kept in a file.
    Helpers, which are programs, are not run."""
    for file in registry_files():
        try:
            known = json.loads(file.read_text(encoding="utf-8"))["auths"][host]["auth"]
            return f"Basic {base64.b64encode(base64.b64decode(known, validate=True)).decode()}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def ground(address: str) -> str:
    """The address of the repository that an address lies in.

    >>> ground("oci://host/lab/kid:v1/model.npz")
    'oci://host/lab/kid'
    """
    found = _ADDRESS.fullmatch(address.removeprefix("oci://").rstrip("/"))
    if found is None:
        raise refused(address, "no address of an artifact; give oci://HOST/NAME")
    return f"oci://{found['host']}/{found['name']}"


def opened(address: str, download: bool) -> Iterator[Opened]:
    """The artifact at an address. Raises InputError."""
    found = _ADDRESS.fullmatch(address.removeprefix("oci://").rstrip("/"))
    if found is None or (found["path"] and not is_inside(found["path"])):
        raise refused(address, "no address of an artifact; give oci://HOST/NAME:TAG")
    tag, given = found["tag"] or ("" if found["digest"] else "latest"), found["digest"]
    at = Repository(found["host"], found["name"])
    manifest, digest_ = _manifest(address, at, given or tag)
    called = f"oci://{at.host}/{at.name}@{digest_}"
    files = dict(_files(called, at, manifest))
    if not files:
        raise (
            at.refused[0]
            if at.refused
            else refused(
                address, "no ModelKit and no model-spec artifact: it has no layers of a model"
            )
        )
    entries = {name: entry for name, (entry, _) in files.items()}

    def reader(path: Path, name: str, entry: Entry) -> RangedFile:
        return RangedFile(path, f"{called}/{name}", files[name][1], entry.size, entry.sha256)

    leaf = f"{at.name.rpartition('/')[2]}:{tag or digest_[7:19]}"
    place = (digest(called), at.host, leaf)
    kept = mirror(called, place, entries, reader)
    kept.refused = tuple(at.refused)
    yield Opened(kept, kept.root / (found["path"] or ""), name=leaf)


def _manifest(
    address: str, at: Repository, reference: str, *, listed: bool = False
) -> tuple[dict[str, Any], str]:
    """The manifest that a tag or a digest names, or the only one in the list that it names, and its
    digest. Raises InputError."""

    def read() -> bytes:
        url, accepted = f"{at.at}/manifests/{reference}", {"Accept": f"{_MANIFEST}, {_INDEX}"}
        with at.get(url, accepted) as answer:
            return body_of(answer, MAX_MANIFEST)

    body = patiently(public(address), read, REGISTRY)
    own = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if reference.startswith("sha256:") and reference != own:
        raise refused(address, "the registry sends another manifest than the digest names")
    try:
        found = json.loads(body)
        if isinstance(found.get("manifests"), list) and not listed:
            (only,) = found["manifests"]
            known = _DIGEST.fullmatch(only["digest"])
            return _manifest(address, at, known[0] if known else "", listed=True)
        if not isinstance(found["layers"], list):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise refused(address, "the registry sends no manifest of one artifact") from None
    return found, own


def _files(
    called: str, at: Repository, manifest: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Entry, Any]]]:
    """The files in the layers, each with what answers for its bytes. Raises InputError."""
    seen: set[str] = set()
    for number, layer in enumerate(manifest["layers"]):
        try:
            kind = _LAYER.fullmatch(layer["mediaType"].partition(";")[0])
            size, known = layer["size"], _DIGEST.fullmatch(layer["digest"])
            notes = layer.get("annotations") or {}
            name = next((str(notes[key]) for key in _NAMED if notes.get(key)), f"layer-{number}")
        except (KeyError, TypeError, AttributeError):
            raise refused(called, f"layer {number} of its manifest is none") from None
        if kind is None:
            continue  # code, data sets, and what others put beside a model
        if known is None or type(size) is not int or not 0 <= size < 2**62:
            raise refused(called, f"layer {number} has no digest or no size")
        form = kind["form"] or ("raw" if kind["docker"] else "")
        source = Answers(f"{at.at}/blobs/{known[0]}", size, at.ranged, REGISTRY)
        if form == "raw":
            found = iter([(name, Entry(size, known[0], known[1]), source)])
        elif form == "tar":
            found = _members(called, number, known[0], source)
        else:
            at.refused.append(
                refused(called, f"layer {number} ({form}) is compressed, which has no ranges; pack"
                                " it without compression")
            )  # fmt: skip
            continue
        for file, entry, own in found:
            if not is_inside(file) or file in seen or len(seen) == MAX_FILES:
                raise refused(called, f"layer {number} holds a file that can't be: {file[:100]!r}")
            seen.add(file)
            yield file, (entry, own)


def _members(
    called: str, number: int, tag: str, source: Answers
) -> Iterator[tuple[str, Entry, Any]]:
    """The regular files in a tar archive, of which the headers alone are read."""
    try:
        with tarfile.open(fileobj=_Headers(called, source), mode="r:") as archive:  # type: ignore[call-overload]
            for count, member in enumerate(archive):
                if count > MAX_FILES:
                    raise refused(called, f"layer {number} holds more than {MAX_FILES} files")
                if member.isreg() and not member.issparse():
                    start = member.offset_data
                    if not 0 <= start <= start + member.size <= source.size:
                        raise refused(called, f"layer {number} is cut off")
                    name = member.name.removeprefix("./")
                    yield name, Entry(member.size, f"{tag} {start}"), _Part(source, start)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise refused(called, f"layer {number} is no tar archive: {error}") from None


class _Headers:
    """A layer as tarfile reads it, a stretch at a time."""

    def __init__(self, called: str, source: Answers) -> None:
        self._called, self._source = called, source
        self._at = self._start = 0
        self._data = b""

    def tell(self) -> int:
        return self._at

    def seek(self, at: int) -> None:
        self._at = at

    def read(self, count: int) -> bytes:
        if count > MAX_HEADER:
            raise refused(self._called, f"a header in a layer has more than {MAX_HEADER} bytes")
        stop = min(self._at + count, self._source.size)
        if not self._start <= self._at <= stop <= self._start + len(self._data):
            self._start = min(self._at, self._source.size)
            self._data = self._get(self._start, min(max(stop, self._at + LEAST), self._source.size))
        found = self._data[self._at - self._start : stop - self._start]
        self._at = max(stop, self._at)
        return found

    def _get(self, start: int, stop: int) -> bytes:
        def get() -> bytes:
            with self._source.answer(start, stop) as parts:
                return b"".join(parts)

        return patiently(self._called, get, REGISTRY) if start < stop else b""


class _Part:
    """What a layer answers for one file in it."""

    whole = False

    def __init__(self, source: Answers, start: int) -> None:
        self.manners = source.manners
        self._source, self._start = source, start

    def answer(self, start: int, stop: int) -> AbstractContextManager[Iterator[bytes]]:
        """Bytes [start, stop) of the file."""
        return self._source.answer(self._start + start, self._start + stop)


def _fault(error: Exception) -> str:
    if isinstance(error, StatusError) and error.response.status_code in (401, 403):
        return f"the registry answers {error}: log in by `docker login`, without a helper"
    if isinstance(error, StatusError) and error.response.status_code == 404:
        return "the registry has no such repository, tag or layer, or not for you"
    return SERVER.fault(error)


REGISTRY: Manners = replace(SERVER, who="the registry", fault=_fault)
