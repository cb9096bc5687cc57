"""Pictures of the docs are of today's code: what is to be read in them is what it shows now."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"


def test_pictures_are_of_todays_code(browser, tmp_path):
    pytest.importorskip("PIL")
    runpy.run_path(str(ROOT / "scripts" / "pictures.py"))["write"](browser, tmp_path)
    drawn = runpy.run_path(str(ROOT / "scripts" / "drawings.py"))["DRAWINGS"]  # tested elsewhere
    made = {path.name for path in tmp_path.iterdir()} | {f"{name}.svg" for name in drawn}
    assert made == {path.name for path in IMAGES.iterdir()}
    stale = []
    for name in ("demo.svg", "diff.svg"):
        if (tmp_path / name).read_bytes() != (IMAGES / name).read_bytes():
            stale.append(name)
    ours, theirs = (json.loads((at / "screens.json").read_text()) for at in (tmp_path, IMAGES))
    stale += [name for name in ours if ours[name] != theirs.get(name)]
    assert stale == [], "run: python scripts/pictures.py"


def test_every_picture_is_in_the_docs():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    pictures = [path.name for path in IMAGES.iterdir() if path.suffix != ".json"]
    assert [name for name in pictures if f"images/{name}" not in text] == []
