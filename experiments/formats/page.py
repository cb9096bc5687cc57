"""docs/formats.md, of the copies that the writers left."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import mother
from experiments.formats.family import EDGES
from experiments.formats.leaves import (
    Copy,
    Ranged,
    Reading,
    Verdict,
    copies,
    in_an_index,
    index_of,
    judged,
    on_a_hub,
    read,
)
from experiments.fuzz.figures import with_fuzzed
from mother.errors import InputError

PAGE = """# Formats

What is read, and what is said of a copy in each format beside its family. Which formats there are,
and what is not read, is in [options and output](usage.md#what-is-a-checkpoint) and
[limits](limits.md#what-isnt-read).

## A copy is a leaf

A family of small Llamas was trained for it, {edges}, and a stranger; each copy is the parent's,
written by the tool that people use. A copy hangs from its original and takes no part in the search
for anybody's parent: the graph without it is the same graph, byte for byte but for its node.

- *values*: of the tensors that the writer's own library dequantizes, how many are read bit for bit,
  whole and in slices; – where the library does not hand them out.
- *half*: the share of the file's bytes of its largest tensor that half of it is read from.
- *hub*: the share of its bytes that come from a Hub for what it holds and the last row of its
  largest tensor; its sketch from there is the same as from the disk. Of a file of one MB, as some
  of these are, all comes at once.
- *moved*: whether any other edge, hidden ancestor or node changed.
- *index*: what `mother index add` says of the copy, from a sketch; the forest is the same, byte for
  byte, where the copy comes before its family, and nothing else in it changes, or it is in bold.
- *fuzzed*: how many inputs its reader had, [below](#fuzzed).

Bold is what should not be. `python -m experiments formats FAMILY COPIES` makes the rows of the
copies that are there and keeps the others; the writers are in `experiments/formats/writers`, one
for each library, in an environment of its own.

{columns}
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

{summary}

## Fuzzed

## Not judged

Beside no family stood AWQ's GEMV order, which GPTQModel writes on a GPU alone, TFLite, Keras' own
archives, Caffe, Darknet, MindSpore, whisper.cpp, llamafiles and DeepSpeed; most of these are read
in tests, from files in `tests/data/formats` or made there. compressed-tensors 0.13 takes 2 from the
powers of MXFP4's scales twice: by the format's description such a file holds a quarter of each
weight, and so it is read. A copy that was decoded and stored as floats
again is `quantized`, in an index, too. Attacks on readers are in
[reliability](reliability.md#attacks).
"""
COLUMNS = (
    "| format | written by | values | half | hub | right parent | relation | scheme | moved |"
    " index | fuzzed |"
)


def page(family: Path, written: Path, report: Callable[[str], None], before: str = "") -> str:
    """The page. family: the models, as `experiments.formats.family` leaves them. written: the
    copies, as the writers leave them. report: gets each row as it is made. before: the page as it
    was, whose rows of other copies stay."""
    alone = mother.recover(family)
    rows = _rows_in(before)
    made = []
    with tempfile.TemporaryDirectory() as name:
        index = Path(name) / "index"
        indexed = index_of(family, index)
        for copy in copies(written):
            made.append(copy.name)
            try:
                found, verdict = read(copy), judged(copy, family, alone)
                told = in_an_index(copy, family, index, indexed)
                row = _row(copy, found, on_a_hub(copy), verdict, told)
            except InputError as fault:
                row = f"| {copy.name} | {copy.by} | **{fault.fault}** |{' |' * 8}"
            rows[copy.name] = row
            report(row)
    edges = ", ".join(f"{p} → {c}" for p, c in EDGES)
    ordered = [rows[name] for name in sorted(rows)]
    right = sum("**" not in row.rsplit("|", 2)[0] for row in ordered)
    summary = f"""{right} of {len(rows)} formats: as it should be, and no other edge moved.

Rows of {date.today()}: {", ".join(made)}. Others are of earlier runs, by the code of their day."""
    return with_fuzzed(
        PAGE.format(edges=edges, columns=COLUMNS, rows="\n".join(ordered), summary=summary)
    )


def _rows_in(page: str) -> dict[str, str]:
    """The rows of a page's table of copies, by format."""
    _, _, table = page.partition(COLUMNS)
    lines = table.partition("\n\n")[0].splitlines()
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}


def _row(copy: Copy, found: Reading, hub: Ranged, said: Verdict, index: Verdict) -> str:
    parent = said.parent == "parent"
    relation, scheme = said.relation in copy.relations, copy.scheme in said.scheme
    equal = found.equal == found.told and found.sliced == found.equal
    values = _or_bold(f"{min(found.equal, found.sliced)} of {found.told}", equal)
    told = index.relation if index.parent == "parent" else f"{index.relation} of {index.parent}"
    cells = (
        copy.name,
        copy.by,
        values if found.told else "–",
        f"{found.share:.2f}",
        _or_bold(f"{hub.share:.2f}", hub.same),
        "yes" if parent else f"**{said.parent}**",
        _or_bold(said.relation, relation),
        _or_bold(said.scheme, scheme),
        _or_bold("yes" if said.moved else "no", not said.moved),
        _or_bold(
            told,
            index.parent == "parent" and index.relation in copy.relations and not index.moved,
        ),
    )
    return f"| {' | '.join(cells)} | |"


def _or_bold(text: str, right: bool) -> str:
    return text if right else f"**{text}**"
