"""What is said of a folder in which no checkpoint was found."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from mother.checkpoints.tensor import printable

NOTHING_FOUND = "no checkpoints found in it"
NEXT = "name the folder that holds the weights"
COUNTED = 10_000  # files and folders that are counted
KINDS = 3  # endings that are named


def nothing_found(folder: Path) -> str:
    """That nothing was found, what lies there instead, and what to do.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.txt", "b.txt", "README"):
    ...         _ = Path(folder, name).write_text("hello")
    ...     print(nothing_found(Path(folder)).split("; ")[0])
    no checkpoints found in it, but 3 other files (2 .txt, 1 without an ending)
    """
    endings, folders = Counter[str](), 0
    for _, below, names in os.walk(folder):
        endings.update(os.path.splitext(name)[1].lower() for name in names)  # noqa: PTH122
        folders += len(below)
        if endings.total() + folders > COUNTED:
            break
    if not endings:
        what = "it holds folders and no files" if folders else "it is empty"
        return f"{NOTHING_FOUND}: {what}; {NEXT}"
    ranked = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(
        f"{many} {printable(end, 20) or 'without an ending'}" for end, many in ranked[:KINDS]
    )
    many = endings.total()
    more = "more than " * (many + folders > COUNTED)  # of which some were not counted
    return f"{NOTHING_FOUND}, but {more}{many} other file{'s' * (many > 1)} ({kinds}); {NEXT}"
