"""Models in whatever fsspec knows, object stores above all: s3://bucket/models, gs://, az://, …

Who asks, and as whom, is up to the library of each store, by its own variables and files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from mother.errors import InputError
from mother.hub.addresses import is_hidden
from mother.hub.files import ChangedError, RangedFile
from mother.hub.mirrors import Entry, Opened, digest, mirror
from mother.hub.patience import ATTEMPTS, NO_ANSWERS, PASSING, Manners, patiently
from mother.hub.schemes import public, refused, scrubbed
from mother.hub.traffic import TRAFFIC

#: files below one address, and folders, where each is asked for its own; how deep these lie
MAX_FILES, MAX_FOLDERS, MAX_DEPTH = 200_000, 20_000, 64
#: keys on a page of a list, as many as stores give, and pages, some of which may be empty
PAGE, MAX_PAGES = 1000, 1000
#: what wraps other stores, or this disk, and is no place of its own
NO_PLACES = frozenset(
    [
        "asynclocal",
        "async_wrapper",
        "asyncwrapper",
        "arrow_hdfs",
        "blockcache",
        "cached",
        "data",
        "dir",
        "file",
        "filecache",
        "generic",
        "libarchive",
        "local",
        "reference",
        "simplecache",
        "tar",
        "zip",
    ]
)
#: the extra of mother's that brings the library of a scheme, and else the library that does
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az"}
#: what stores call that which changes with the bytes of a file, the most telling first
_TAGS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "LastModified", "last_modified",
         "updated", "mtime", "modified", "created")  # fmt: skip


#: makes one request, again where that may help; InputError where it does not
Ask = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True)
class Store:
    """How one kind of store is used, beside what all of them have in common.

    options: for its file system. listed: the files at a path, by their names below it, and "" for
    the one that lies at the path itself. read: bytes [start, stop) of one of them, and its tag; it
    raises ChangedError where they are others by now. advice: what to do where credentials fail.
    attempts: how often a request is made, 1 where its library itself tries again. logs: names of
    what its library brings that logs, too.
    """

    options: Callable[[], dict[str, Any]]
    listed: Callable[[Any, str, Ask], Iterator[tuple[str, Entry]]]
    read: Callable[[Any, str, Entry, int, int], tuple[bytes, str]]
    advice: str = "see its library's page on credentials"
    attempts: int = ATTEMPTS
    logs: tuple[str, ...] = ()


def listed(fs: Any, path: str, ask: Ask) -> Iterator[tuple[str, Entry]]:
    """By fsspec's own calls, a folder at a time: a list of all may have no end."""
    about = ask(lambda: fs.info(path))
    if about["type"] != "directory":
        yield "", entry(about)
        return
    top = path.rstrip("/")
    folders = [top]
    for folder in folders:  # grows as it goes
        for each in ask(partial(fs.ls, folder, detail=True)):
            name = str(each["name"])[len(top) :].strip("/")
            if each["type"] == "file":
                yield name, entry(each)
            elif each["type"] == "directory" and name.count("/") < MAX_DEPTH:
                folders.append(f"{top}/{name}")
        if len(folders) > MAX_FOLDERS:
            raise ValueError(f"it holds more than {MAX_FOLDERS} folders; name one of them")


def pages(
    ask: Ask, page: Callable[[Any], tuple[Iterable[tuple[str, Entry]], Any]]
) -> Iterator[tuple[str, Entry]]:
    """A list that a store gives in pages. page: what stands on one of them, and what names the
    next, None or "" where there is none; it is given None, and then what named it."""
    token = None
    for _ in range(MAX_PAGES):
        found, token = ask(partial(page, token))
        yield from found
        if not token:
            return
    raise ValueError(f"the store sends a list of more than {MAX_PAGES} pages")


def entry(about: Any) -> Entry:
    """Size and tag from what fsspec says of a file. ValueError where it has no size."""
    size = about.get("size")
    if type(size) is not int or not 0 <= size < 2**62:
        raise ValueError("the store does not tell the size of a file")
    tags = (f"{key} {about[key]}" for key in _TAGS if about.get(key))
    return Entry(size, next(tags, "").replace('"', ""))  # quoted in a list and not alone, or not


def read(fs: Any, path: str, known: Entry, start: int, stop: int) -> tuple[bytes, str]:
    """By fsspec's own calls, and one more that tells whether it is still the same file: as it is
    told alone, which need not be spelled as in a list."""
    data: bytes = fs.cat_file(path, start=start, end=stop)
    TRAFFIC.asked()
    fs.invalidate_cache(path.rpartition("/")[0])
    now = entry(fs.info(path))
    if now.size != known.size:
        raise ChangedError(f"has {known.size} bytes by the store's list and {now.size} now")
    return data, now.tag


#: what a store says of an address by itself
STATED = ("The specified bucket does not exist", "no such bucket")
#: in the names of what libraries raise where a connection broke, and where there are no credentials
_BROKEN = ("Connect", "Timeout", "Payload", "Incomplete", "Disconnected")
_NOT_LET_IN = ("credential", "auth", "profile")
#: stores of which more is known; every other is used as fsspec uses it
STORES = {
    **dict.fromkeys(("s3", "s3a"), "mother.hub.s3"),
    **dict.fromkeys(("gs", "gcs"), "mother.hub.gs"),
    **dict.fromkeys(("az", "abfs"), "mother.hub.az"),
}
_ANY = Store(dict, listed, read)


def opened(address: str, download: bool) -> Iterator[Opened]:
    """What lies at an address: one file, or all below it. Raises InputError."""
    yield placed(address)


def placed(address: str, called: str = "", name: str = "") -> Opened:
    """The same, called otherwise, and its folder, too, where others name the address."""
    scheme, _, rest = address.partition("://")
    if scheme in NO_PLACES or "::" in address:
        raise refused(address, "leads through another store or to this disk; give the place itself")
    if not rest.strip("/"):
        raise refused(address, f"names no bucket; give {scheme}://BUCKET/PATH")
    store = import_module(STORES[scheme]).STORE if scheme in STORES else _ANY
    manners = _manners(scheme, store, _password(rest))
    fs, path = _file_system(address, scheme, store, manners)

    def ask(call: Callable[[], Any]) -> Any:
        return patiently(public(address), call, manners)

    try:
        every = dict(islice(store.listed(fs, path, ask), MAX_FILES + 1))
    except (ValueError, *NO_ANSWERS) as error:  # a list that says too much, or what is none
        raise refused(address, manners.fault(error)) from None
    if len(every) > MAX_FILES:
        raise refused(address, f"holds more than {MAX_FILES} files; name a folder in it")
    if not every:
        raise refused(address, manners.fault(FileNotFoundError()))
    entries, faults = _kept(address, every)
    above, _, leaf = path.rstrip("/").rpartition("/")
    alone = "" in entries
    if alone:  # a file is mirrored in its folder
        if not _is_path(leaf):
            raise refused(address, "its key can't be the name of a file")
        entries, path = {leaf: entries[""]}, above
        above, _, leaf = path.rpartition("/")
    told = called or public(address)
    called = told.rpartition("/")[0] if alone and not called else told.rstrip("/")

    def reader(file: Path, name: str, known: Entry) -> RangedFile:
        source = _Object(fs, f"{path.rstrip('/')}/{name}", known, store, manners)
        return RangedFile(file, f"{called}/{name}", source, known.size, tag=known.tag)

    first = digest(address, called, sorted(entries.items()))
    place = (first, above.rpartition("/")[2] or scheme, name or leaf)
    if any(part in ("", ".", "..") or "\0" in part for part in place):
        place = (place[0], scheme, "files")
    found = mirror(called, place, entries, reader)
    found.refused = tuple(faults)
    return Opened(found, found.root / next(iter(entries)) if alone else found.root)


def _kept(address: str, found: dict[str, Entry]) -> tuple[dict[str, Entry], list[InputError]]:
    """Those whose names can be files' in one folder, hidden ones left out; and one line on the
    others: a store may have both `a` and `a/b`, and `a//b`, `..` or a name of 1,000 letters."""
    shown = {n: e for n, e in found.items() if not is_hidden(n)}
    folders = {name[:at] for name in shown for at in range(len(name)) if name[at] == "/"}
    bad = [n for n in shown if n and not n.endswith("/") and (n in folders or not _is_path(n))]
    faults = []
    if bad:
        said = f"{len(bad)} key{'s' * (len(bad) > 1)} can't be files' names in one folder"
        faults.append(refused(address, f"{said} and were not read: {bad[0]!r:.200}"))
    out = set(bad)
    return {n: e for n, e in shown.items() if n not in out and not n.endswith("/")}, faults


def _is_path(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= MAX_DEPTH and all(
        p not in ("", ".", "..") and "\0" not in p and len(p.encode("utf-8", "replace")) <= 255
        for p in parts
    )


class _Object:
    """What a store answers for one file."""

    whole = False

    def __init__(self, fs: Any, path: str, known: Entry, store: Store, manners: Manners) -> None:
        self.manners = manners
        self._fs, self._path, self._known, self._store = fs, path, known, store
        self._tag = ""

    @contextmanager
    def answer(self, start: int, stop: int) -> Iterator[Iterator[bytes]]:
        data, tag = self._store.read(self._fs, self._path, self._known, start, stop)
        self._tag = self._tag or tag
        if tag != self._tag:
            raise ChangedError("has changed in the store while it was read; start again")
        yield iter((data,))


def _file_system(address: str, scheme: str, store: Store, manners: Manners) -> tuple[Any, str]:
    import fsspec

    try:
        fs, path = fsspec.url_to_fs(address, **store.options())
        # what libraries log where nobody asked for logs is told in one line here
        for name in (type(fs).__module__.partition(".")[0], *store.logs):
            logging.getLogger(name).addHandler(logging.NullHandler())
        return fs, str(path)
    except ImportError as error:
        absent = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        module = absent.name or scheme
        wanted = f"'mother-recovery[{EXTRAS[scheme]}]'" if scheme in EXTRAS else module
        raise refused(address, f"{module} is not installed; run: pip install {wanted}") from None
    except manners.caught() as error:  # before anybody was asked
        why = scrubbed(str(error)) or type(error).__name__
        raise refused(address, f"{scheme}:// can't be asked: {why}; {store.advice}") from None


def _password(rest: str) -> str:
    """What of NAME:PASSWORD@HOST/… is in no message."""
    return rest.partition("/")[0].rpartition("@")[0].partition(":")[2]


def _manners(scheme: str, store: Store, secret: str) -> Manners:
    """How a library's errors are taken, of which there are as many kinds as libraries. secret:
    what they say and is not told."""

    def status(error: Exception) -> int | None:
        told = getattr(error, "response", None)
        if isinstance(told, dict):  # botocore's
            told = told.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for name in ("status", "status_code", "code"):
            told = told if isinstance(told, int) else getattr(error, name, None)
        if isinstance(error, OSError) and str(error).startswith("Forbidden: "):  # gcsfs'
            return 403
        return told if isinstance(told, int) else None

    def first(error: Exception) -> Exception:
        cause = error.__cause__
        return cause if isinstance(cause, Exception) and status(error) is None else error

    def not_let_in(error: Exception) -> bool:
        kind = f"{type(error).__module__}.{type(error).__name__}".lower()
        return any(word in kind for word in _NOT_LET_IN)

    def passes(error: Exception) -> bool:
        if isinstance(error, FileNotFoundError | PermissionError | NotImplementedError):
            return False
        name = type(error).__name__
        if any(word in name for word in _BROKEN):
            return True
        if (code := status(first(error))) is not None:
            return code in PASSING
        return isinstance(error, OSError) and not not_let_in(error)

    def fault(error: Exception) -> str:
        if isinstance(error, NO_ANSWERS):
            return f"what answers there is no server of {scheme}://"
        code, name = status(first(error)), type(error).__name__
        why = scrubbed(str(error).replace(secret, "…") if secret else str(error)).strip(" ,")
        why = why or ("nothing was answered in time" if "Timeout" in name else name)
        if isinstance(error, FileNotFoundError):
            return why if why in STATED else "nothing lies there, or nothing that may be seen"
        if isinstance(error, PermissionError) or code in (401, 403):
            return f"credentials are not accepted or lack the right ({why}); {store.advice}"
        if not_let_in(error):
            return f"no credentials ({why}); {store.advice}"
        return f"{scheme}:// can't be read: {why}; check the address and the network"

    # libraries of stores raise what those below them raise, of no common kind
    return Manners("the store", lambda: (Exception,), passes, lambda _: None, fault, store.attempts)
