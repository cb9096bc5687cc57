"""What fuzzing did to each reader of checkpoints: `readers.csv`, which `checkpoints` writes, and
what docs/formats.md shows of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from experiments.fuzz.readers import READERS

KEPT = Path(__file__).with_name("readers.csv")
BLIND = Path(__file__).with_name("blind.csv")
PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
INPUTS, SECONDS = 1_000_000, 20 * 60  # of processor time; whichever comes first is enough


@dataclass(frozen=True)
class Figures:
    """minutes: of processor time. inputs: tried. edges: of code covered. megabytes: the most memory
    that came to what the reader took before. slowest: seconds of processor time of one input.
    faults: found."""

    minutes: float
    inputs: int
    edges: int
    megabytes: int
    slowest: float
    faults: int

    @property
    def done(self) -> bool:
        """Whether it was enough."""
        return self.inputs >= INPUTS or self.minutes * 60 >= SECONDS

    @property
    def left(self) -> float:
        """Minutes until it is enough, if it goes on as fast."""
        rate = max(self.inputs, 1) / self.minutes
        return min(SECONDS / 60 - self.minutes, (INPUTS - self.inputs) / rate)

    def plus(self, other: Figures) -> Figures:
        """Of two turns."""
        return Figures(
            self.minutes + other.minutes,
            self.inputs + other.inputs,
            max(self.edges, other.edges),
            max(self.megabytes, other.megabytes),
            max(self.slowest, other.slowest),
            self.faults + other.faults,
        )


def read() -> dict[str, Figures]:
    """By reader; none where nothing was tried."""
    if not KEPT.exists():
        return {}
    kinds = {"minutes": float, "slowest": float}
    with KEPT.open(newline="") as rows:
        return {
            row.pop("reader"): Figures(**{n: kinds.get(n, int)(v) for n, v in row.items()})
            for row in csv.DictReader(rows)
        }


def write(figures: Mapping[str, Figures]) -> None:
    with KEPT.open("w", newline="") as out:
        rows = csv.DictWriter(
            out, ["reader", *(f.name for f in fields(Figures))], lineterminator="\n"
        )
        rows.writeheader()
        for name, each in sorted(figures.items()):
            row = asdict(each)
            row |= {"minutes": f"{each.minutes:.2f}", "slowest": f"{each.slowest:.2f}"}
            rows.writerow({"reader": name, **row})


def blind() -> dict[str, int]:
    """How many inputs each reader had that nothing guided (`blind`)."""
    found: dict[str, int] = {}
    if BLIND.exists():
        with BLIND.open(newline="") as rows:
            for row in csv.DictReader(rows):
                found[row["reader"]] = found.get(row["reader"], 0) + int(row["inputs"])
    return found


SECTION = """## Fuzzed

Bytes at random, guided by the edges of code that they cover, by
`python -m experiments.fuzz.checkpoints`, which writes these figures (atheris; Python code only):
{inputs:,} inputs for each reader, or {minutes} minutes of processor time, whichever comes first;
what had less is in bold. An input is opened, and the ends of its tensors are read. *MB*: the most
memory that came to what reading took before; *slowest*: processor time of one input. *Blind*:
inputs changed at random that nothing guided, by `python -m experiments.fuzz.blind`. A crash, a
refusal of more than a line, more than a second or a GB would have been *found*; what was is mended,
and read again by the tests (`tests/data/fuzz`).

| reader | inputs | minutes | edges | MB | slowest, s | found | blind |
|---|---|---|---|---|---|---|---|
{rows}
"""
_CELLS = 11  # in a row of the page's table
_TITLE, _NEXT = "## Fuzzed\n", "\n## "


def with_fuzzed(text: str, known: Mapping[str, Figures] | None = None) -> str:
    """docs/formats.md with these figures, those that are kept if None: the last column of its
    table, and the section on them."""
    known = read() if known is None else known
    lines = []
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == _CELLS and any(map(cells[0].startswith, READERS)):
            line = f"| {' | '.join([*cells[:-1], fuzzed(cells[0], known)])} |"
        lines.append(line)
    before, _, rest = "\n".join(lines).partition(_TITLE)
    return f"{before}{_section(known)}{_NEXT}{rest.partition(_NEXT)[2]}"


def fuzzed(name: str, known: Mapping[str, Figures]) -> str:
    """How many inputs the reader of a format had, the one whose own name this one starts with.

    >>> fuzzed("gguf-Q4_0.gguf", {"gguf": Figures(3.1, 1_000_000, 9, 1, 0.1, 0)})
    '1,000,000'
    """
    mine = max((reader for reader in READERS if name.startswith(reader)), key=len)
    return _inputs(known.get(mine))


def _inputs(of: Figures | None) -> str:
    if of is None:
        return "**none**"
    return f"{of.inputs:,}" if of.done else f"**{of.inputs:,}**"


def _section(known: Mapping[str, Figures]) -> str:
    rows, unguided = [], blind()
    for name in READERS:
        of = known.get(name)
        cells = [name, _inputs(of), *[""] * 5]
        if of is not None:
            cells[2:] = [f"{of.minutes:.1f}", f"{of.edges:,}", str(of.megabytes)]
            cells += [f"{of.slowest:.2f}", str(of.faults)]
        cells.append(f"{unguided[name]:,}" if name in unguided else "")
        rows.append(f"| {' | '.join(cells)} |")
    told = {"inputs": INPUTS, "minutes": SECONDS // 60, "rows": "\n".join(rows)}
    return SECTION.format(**told)
