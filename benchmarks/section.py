"""The page of benchmarks by sections, each written by the command that it names."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def put(heading: str, text: str) -> None:
    """Write a section in the place of what it was, or at the end; the others stay."""
    before, *sections = PAGE.read_text().split("\n## ")
    titles = [section.split("\n", 1)[0] for section in sections]
    own = f"{heading}\n\n{text.strip()}\n"
    if heading in titles:
        sections[titles.index(heading)] = own
    else:
        sections.append(own)
    PAGE.write_text("\n## ".join([before.rstrip() + "\n", *(s.rstrip() + "\n" for s in sections)]))


def machine() -> str:
    """The day, and what it was run on."""
    from benchmarks.__main__ import cpu  # which imports this

    return (
        f"{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores ({cpu()}), Python "
        f"{platform.python_version()}, numpy {np.__version__}"
    )
