"""Which texts are addresses of models elsewhere, and who opens them.

A new scheme is one file with a function `opened`, and one line here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from mother.errors import InputError
from mother.names import printable

if TYPE_CHECKING:
    from mother.hub.mirrors import Opened

#: by scheme, the module whose `opened(address, download)` yields what an address leads to
SCHEMES = {
    "hf": "mother.hub.repositories",
    "http": "mother.hub.web_files",
    "https": "mother.hub.web_files",
    "mlflow": "mother.hub.mlflow",
    "models": "mother.hub.mlflow",
    "oci": "mother.hub.oci",
}
#: what opens all that fsspec knows beside these
OTHERS = "mother.hub.stores"
#: those whose addresses name the same bytes for ever, once they are resolved
FIXED = frozenset({"hf", "oci"})
#: parameters of an address that are no secret and choose what it leads to
_HARMLESS = frozenset({"download", "generation", "ref", "revision", "version", "versionId"})
#: parameters that sign an address for a while, as AWS, Google, Azure and CloudFront call them
_SIGNING = re.compile(
    r"(?i:x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|response-content-.*|sv|sr|sig|sp|se|st|spr|sip|ss|srt|skoid|sktid|skt|ske|sks|skv|sdd|scid)"
)
#: what stands for parameters that are not told
_HIDDEN = re.compile(r"~[0-9a-f]{6}")
#: one slash, or none at all, where the address has been a Path
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):(?:(/+)|$)")


def scheme_of(path: str | os.PathLike[str]) -> str | None:
    """The scheme of an address; None of what is none.

    >>> scheme_of("s3://bucket/model"), scheme_of("hf:/org"), scheme_of("C:/models"), scheme_of("a")
    ('s3', 'hf', None, None)
    """
    found = _ADDRESS.match(os.fspath(path))
    if found is None:
        return None
    return found[1] if found[1] in SCHEMES or (found[2] and is_known(found[1])) else None


def is_known(scheme: str) -> bool:
    """Whether fsspec knows a scheme."""
    from fsspec import available_protocols

    return scheme in available_protocols()


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether what is given in place of a path is an address of something elsewhere.

    >>> is_address("hf://org/name"), is_address("s3://bucket/model"), is_address("org/name")
    (True, True, False)
    """
    return scheme_of(path) is not None


def is_fixed(path: str | os.PathLike[str]) -> bool:
    """Whether an address names the same bytes for ever, as one with a commit does."""
    return scheme_of(path) in FIXED


def opened_at(
    address: str | os.PathLike[str], *, download: bool = False
) -> Iterator[Opened | InputError]:
    """What an address leads to, which of some schemes are many places.

    download: where there is a cache for it, files are fetched whole when they are opened; where a
    server has no ranges, too. Raises InputError.
    """
    scheme = scheme_of(address)
    module = import_module(SCHEMES.get(scheme or "", OTHERS))
    found: Iterator[Opened | InputError] = module.opened(written(address), download)
    return found


def written(address: str | os.PathLike[str]) -> str:
    """An address as it was before it was a Path: with two slashes, or MLflow's one.

    >>> from pathlib import Path
    >>> written(Path("s3://bucket/model")), written("hf:"), written("models:/kid/3")
    ('s3://bucket/model', 'hf://', 'models:/kid/3')
    """
    text = os.fspath(address)
    found = _ADDRESS.match(text)
    return text if found is None else f"{found[1]}{_mark(found[1])}{text[found.end() :]}"


def _mark(scheme: str) -> str:
    return ":/" if scheme == "models" else "://"


def public(address: str | os.PathLike[str]) -> str:
    """An address without what is secret in it: a name with a password, what signs it for a while.
    Of other parameters six letters of a hash are left, so that two addresses do not become one.

    >>> public("https://me:word@host/f.npz?versionId=3&X-Amz-Signature=5ec2e7")
    'https://host/f.npz?versionId=3'
    >>> public("https://host/f?token=5ec2e7"), public("abfs://models@account/f")
    ('https://host/f?~dff46e', 'abfs://models@account/f')
    """
    scheme, _, rest = written(address).partition(":")
    mark, query = _mark(scheme), ""
    rest = rest[len(mark) - 1 :]
    if scheme in ("http", "https"):
        rest, _, query = rest.partition("#")[0].partition("?")
    host, slash, path = rest.partition("/")
    who, _, where = host.rpartition("@")
    if who and (":" in who or scheme in ("http", "https")):
        host = where
    kept, hidden = [], []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _HARMLESS:
            kept.append(urlencode({name: value}))
        elif _HIDDEN.fullmatch(name):
            kept.append(name)
        elif not _SIGNING.fullmatch(name):
            hidden.append((name, value))
    if hidden:
        kept.append(f"~{hashlib.sha256(repr(hidden).encode()).hexdigest()[:6]}")
    return f"{scheme}{mark}{host}{slash}{path}" + "?" * bool(kept) + "&".join(kept)


class Tags(NamedTuple):
    """How tags are put on models of one scheme. unit: the address of what is tagged for a model at
    an address; write: puts tags there, and takes older ones of ours off. Both raise InputError."""

    unit: Callable[[str], str]
    write: Callable[[str, Mapping[str, str]], None]


def tags_of(address: str) -> Tags | None:
    """How tags are put on what lies at an address; None where none can be."""
    module = SCHEMES.get(scheme_of(address) or "")
    found: Tags | None = getattr(import_module(module), "TAGS", None) if module else None
    return found


def ground(address: str | os.PathLike[str]) -> PurePosixPath:
    """Where an address lies, without what names one version of it, as a path in whose parents it
    lies, too. Raises InputError where it is none, or leads out of itself.

    >>> ground("s3://bucket/models/a.npz").is_relative_to(ground("s3://bucket/models"))
    True
    """
    text = written(address)
    plain = unquote(unquote(text))
    if not plain.isprintable() or "\\" in plain or ".." in plain.split("/"):
        raise refused(text, "leads elsewhere than it says")
    module = import_module(SCHEMES.get(scheme_of(address) or "", OTHERS))
    named: Callable[[str], str] = getattr(module, "ground", str)
    return PurePosixPath(named(text))


def refused(address: str, fault: str) -> InputError:
    """The error that refuses an address."""
    return InputError(printable(public(address))[:4000], printable(fault))


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def scrubbed(text: str) -> str:
    """What a library says, in one line, without a whole answer in XML, and addresses in it without
    what is secret.

    >>> scrubbed("403, url='https://u:p@host/f?sig=5ec2e7'")
    "403, url='https://host/f'"
    """
    said = _URL.sub(lambda m: public(m[0]), text.partition("<?xml")[0])
    return " ".join(said.split())[:200]
