"""Real text, byte by byte, of the documentation that a Debian system has installed."""

from __future__ import annotations

import gzip
import hashlib
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from experiments.images import MissingData
from experiments.tasks import Examples

#: a domain of text, and where it lies
DOMAINS = {
    "copyright": ("/usr/share/doc", "*/copyright"),
    "debian-changelog": ("/usr/share/doc", "*/changelog.Debian.gz"),
    "changelog": ("/usr/share/doc", "*/changelog.gz"),
    "readme": ("/usr/share/doc", "*/README*"),
    "licences": ("/usr/share/common-licenses", "*"),
    "manual": ("/usr/share/man/man1", "*.gz"),
    "headers": ("/usr/include", "*.h"),
    "python": (sysconfig.get_path("stdlib"), "*.py"),
}
CONTEXT = 64
VOCABULARY = 256
_LARGEST_FILE, _LARGEST_DOMAIN, _SMALLEST_DOMAIN = 150_000, 1_500_000, 100_000
#: domains joined by this are read together
MIXED = "+"


@cache
def available() -> tuple[str, ...]:
    """Domains of which enough text is installed, the larger half of DOMAINS at least."""
    found = tuple(d for d in DOMAINS if len(_text(d)) >= _SMALLEST_DOMAIN)
    if len(found) < len(DOMAINS) // 2:
        raise MissingData(
            f"only {', '.join(found) or 'no text'} found, of {', '.join(DOMAINS)}: install packages"
            " with documentation, such as sudo apt-get install manpages libc6-dev python3-doc"
        )
    return found


def draw(name: str, part: str, count: int, seed: int) -> Examples:
    """Windows of text of a domain, or of several joined by "+"; the last tenth is the test."""
    texts = [_part(domain, part) for domain in name.split(MIXED)]
    text = torch.cat(texts)
    g = torch.Generator().manual_seed(seed)
    start = torch.randint(len(text) - CONTEXT - 1, (count,), generator=g)
    windows = text[start[:, None] + torch.arange(CONTEXT + 1)].long()
    return Examples(windows[:, :-1], windows[:, 1:], VOCABULARY)


def _part(domain: str, part: str) -> Tensor:
    text = _text(domain)
    border = len(text) * 9 // 10
    return text[:border] if part == "train" else text[border:]


@cache
def _text(domain: str) -> Tensor:
    joined = b"".join(_contents(*DOMAINS[domain]))[:_LARGEST_DOMAIN]
    return torch.frombuffer(bytearray(joined), dtype=torch.uint8) if joined else torch.empty(0)


def _contents(folder: str, pattern: str) -> Iterator[bytes]:
    """What different text files hold, in an order that has nothing to do with their names."""
    paths = (p for p in Path(folder).glob(pattern) if p.is_file())
    seen, total = set(), 0
    for path in sorted(paths, key=lambda p: hashlib.sha256(bytes(p)).digest()):
        content = _read(path)
        digest = hashlib.sha256(content).digest()
        if digest not in seen and b"\0" not in content:
            seen.add(digest)
            total += len(content)
            yield content
        if total >= _LARGEST_DOMAIN:
            return


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content)[:_LARGEST_FILE]
    except (OSError, EOFError):
        return b""
