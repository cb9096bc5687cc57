"""The list of a folder as web servers show it: a page with a link to each name in it.

Apache's, nginx', lighttpd's, Caddy's and Python's differ in everything but that. Links that lead
elsewhere than one step down are left alone, those that sort the list among them.
"""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

from mother.hub.addresses import is_hidden, is_inside
from mother.hub.patience import patiently
from mother.hub.schemes import public, refused
from mother.hub.web import SERVER, asked, body_of

#: files and folders below one address, how deep these lie, and bytes of a page
MAX_FILES, MAX_FOLDERS, MAX_DEPTH, MAX_PAGE = 20_000, 1_000, 32, 16 << 20


def files_below(address: str, url: str) -> list[str]:
    """The names of all files below a folder, hidden ones left out. Raises InputError."""
    top, folders, files = urlsplit(url), [""], list[str]()
    for folder in folders:  # grows as it goes
        for name in _names(address, top._replace(path=top.path + quote(folder)).geturl()):
            path = folder + name
            if is_hidden(path.removesuffix("/")):
                continue
            if not name.endswith("/"):
                files.append(path)
            elif path.count("/") <= MAX_DEPTH:
                folders.append(path)
        if len(files) > MAX_FILES or len(folders) > MAX_FOLDERS:
            most = f"{MAX_FILES} files or {MAX_FOLDERS} folders"
            raise refused(address, f"holds more than {most}; name a folder in it")
    return sorted(files)


def _names(address: str, url: str) -> list[str]:
    """What the page of a folder links to right below it; folders end in a slash."""

    def read() -> bytes:
        with asked(url, {}) as response:
            kind = response.headers.get("Content-Type", "")
            if not kind.startswith("text/html"):
                raise refused(address, f"no list of a folder, but {kind or 'of no type'}")
            return body_of(response, MAX_PAGE)

    page = _Links()
    page.feed(patiently(public(address), read, SERVER).decode("utf-8", "replace"))
    here, found = urlsplit(url), set[str]()
    for link in page.links:
        try:
            there = urlsplit(urljoin(url, link))
        except ValueError:
            continue
        start, path = unquote(here.path), unquote(there.path)
        name = path.removeprefix(start).removesuffix("/")
        inside = there.netloc == here.netloc and path.startswith(start) and not there.query
        if inside and is_inside(name) and "/" not in name:
            found.add(path.removeprefix(start))
    return sorted(found)


class _Links(HTMLParser):
    """Where the links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]
