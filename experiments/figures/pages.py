"""What an experiment leaves: a page, with its data as CSV and its picture as SVG beside it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.architectures import PARTIAL
from experiments.figures.pictures import svg
from experiments.wild.page import made_by

Row = dict[str, object]


@dataclass(frozen=True)
class Page:
    """title, text: Markdown; the picture stands between `question` and `text`. rows: the data, of
    which "split" and "seed" say what it was found on."""

    title: str
    question: str
    text: str
    rows: Sequence[Row]
    picture: Figure
    caption: str = ""


def write(page: Page, name: str, folder: Path, command: str, seconds: float) -> None:
    """NAME.md, NAME.csv and NAME.svg; all but the date, the machine and the time are the same
    bytes for the same models."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{name}.csv", table_as_csv(page.rows))
    _replace(folder / f"{name}.svg", svg(page.picture, name))
    text = f"""# {page.title}

{page.question.strip()}

![{page.caption or page.title}]({name}.svg)

{page.text.strip()}

---
{made_by(command)} {seconds:.0f} s, the training of the models apart.
Found on {seeds(page.rows)}. Data: [{name}.csv]({name}.csv). [All experiments](README.md)
"""
    _replace(folder / f"{name}.md", text)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(PARTIAL + path.name)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def seeds(rows: Iterable[Row]) -> str:
    """Which splits with which seeds the rows are of; what was not trained here has no seed.

    >>> seeds([{"split": "ft", "seed": 0}, {"split": "ft", "seed": 1}, {"split": "cnn", "seed": 0}])
    'ft (seeds 0, 1), cnn (seed 0)'
    """
    found: dict[object, list[object]] = {}
    for row in rows:
        of = found.setdefault(row["split"], [])
        if "seed" in row and row["seed"] not in of:
            of.append(row["seed"])
    return ", ".join(
        f"{split} (seed{'s' * (len(of) > 1)} {', '.join(map(str, of))})" if of else str(split)
        for split, of in found.items()
    )


def table_as_csv(rows: Sequence[Row]) -> str:
    """One line a row, under the union of their keys; figures to six digits."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: _cell(v) for k, v in row.items()} for row in rows])
    return out.getvalue()


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table.

    >>> print(markdown(["split", "edges"], [["ft", 3]]))
    | split | edges |
    |---|---|
    | ft | 3 |
    """
    lines = [head, ["---"] * len(head), *rows]
    joined = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    joined[1] = joined[1].replace(" ", "")
    return "\n".join(joined)


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Mean and standard deviation, of those that are numbers.

    >>> spread([0.5, 1.0]), spread([1.0]), spread([])
    ('0.75 ± 0.25', '1.00', '–')
    """
    kept = [v for v in values if not math.isnan(v)]
    if not kept:
        return "–"
    return f"{np.mean(kept):.{digits}f}" + (
        f" ± {np.std(kept):.{digits}f}" if len(kept) > 1 else ""
    )


def mean(values: Iterable[float]) -> float:
    """Of those that are numbers."""
    kept = [v for v in values if not math.isnan(v)]
    return float(np.mean(kept)) if kept else math.nan


@dataclass
class Table:
    """Rows that are looked up by their values."""

    rows: list[Row] = field(default_factory=list)

    def add(self, **row: object) -> None:
        self.rows.append(row)

    def of(self, figure: str, **wanted: object) -> list[float]:
        """The figure in the rows that have the values wanted."""
        return [
            float(row[figure])  # type: ignore[arg-type]
            for row in self.rows
            if figure in row and all(row.get(k) == v for k, v in wanted.items())
        ]
