"""What is said of a folder in which no checkpoint was found."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from mother.checkpoints.tensor import printable

NOTHING_FOUND = "no checkpoints found in it"
COUNTED = 10_000  # files of which the endings are counted
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
    endings = Counter[str]()
    for _, _, names in os.walk(folder):
        endings.update(os.path.splitext(name)[1].lower() for name in names)  # noqa: PTH122
        if endings.total() > COUNTED:
            break
    if not endings:
        return f"{NOTHING_FOUND}: it is empty; name the folder that holds the weights"
    ranked = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(
        f"{many} {printable(end, 20) or 'without an ending'}" for end, many in ranked[:KINDS]
    )
    many = endings.total()
    files = f"{many} other file{'s' * (many > 1)}"
    if many > COUNTED:
        files = f"more than {COUNTED} other files"
    return f"{NOTHING_FOUND}, but {files} ({kinds}); name the folder that holds the weights"
