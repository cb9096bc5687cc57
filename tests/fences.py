"""The blocks of code in a page, and of a session the commands with what the page shows of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Fence:
    page: Path
    line: int
    language: str
    why_untested: str
    heading: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    heading, said = "", False
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if said:
            heading = token.content
        said = token.type == "heading_open"
        if token.type == "fence":
            language, _, more = token.info.strip().partition(" ")
            why = more.partition("untested:")[2].strip()
            if not language.startswith("{"):
                assert not more or (more.startswith("untested: ") and why), f"{page}: {more}"
            yield Fence(page, token.map[0] + 1, language, why, heading, token.content)


def sessions(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def is_shown(shown: str, out: str) -> bool:
    """Whether a page shows what was printed: equal but for `…`, which stands for anything, alone on
    its line for any lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "…" else re.escape(line).replace("…", ".*") + "\n"
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, re.sub(r" +$", "", out, flags=re.MULTILINE)) is not None
