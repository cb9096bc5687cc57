"""`python -m experiments attributes`."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import click

HIDDEN = (0.9, 0.7, 0.5, 0.2)
ON_ALL = (0.9, 0.5)  # shares that are tried on other graphs than recovered ones, with one seed
WRONG = 0.05  # of a hub's edges, as many as the page on hubs finds wrong
MISSING = 0.2
OFTEN = 50  # rows after which they are kept


@click.command()
@click.option("--models", type=click.IntRange(min=200), default=2000, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--population",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of families that were trained, each with its plan.json; one half is judged.",
)
@click.option("--families", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--split", type=click.Path(path_type=Path, exists=True), multiple=True)
@click.option(
    "--scale",
    "hub",
    type=click.IntRange(min=200),
    help="Only time `mother infer` on a hub of so many models.",
)
@click.option(
    "--minutes", type=click.IntRange(min=1), help="Stop after so long; the next call goes on."
)
@click.option("--graphs", type=click.Path(path_type=Path), default=Path("data/graphs"))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs/experiments"), show_default=True
)
def attributes(
    models: int,
    seeds: int,
    population: Path | None,
    families: int,
    split: tuple[Path, ...],
    hub: int | None,
    minutes: int | None,
    graphs: Path,
    out: Path,
) -> None:
    """Hide what is known of models, infer it by every method, and write the page. Rows that its
    table holds already are kept: take them out where the code has changed."""
    from experiments.attributes import scale
    from experiments.attributes.page import NAME, page
    from experiments.attributes.trial import key
    from experiments.figures.pages import table_as_csv, write

    start = time.perf_counter()
    large = out / f"{scale.NAME}.csv"
    out.mkdir(parents=True, exist_ok=True)
    if hub is not None:
        row = scale.timed(hub, 0, graphs / f"hub-{hub}")
        large.write_text(table_as_csv([*_read(large), row]), encoding="utf-8")
        click.echo(large)
        return
    rows: list[dict[str, object]] = []
    raw = out / f"{NAME}.csv"
    known = {key(row): row for row in _read(raw)}
    for row in _rows(models, seeds, population, families, split, graphs, dict(known)):
        rows.append(row)
        known.pop(key(row), None)
        if len(rows) % OFTEN == 0:  # what is cut short is gone on with
            raw.write_text(table_as_csv([*rows, *known.values()]), encoding="utf-8")
        if minutes is not None and time.perf_counter() - start > 60 * minutes:
            rows += known.values()
            break
    raw.write_text(table_as_csv(rows), encoding="utf-8")
    command = f"python -m experiments attributes --models {models} --seeds {seeds}"
    command += f" --population FOLDER --families {families}" if population else ""
    command += " --split FOLDER" * len(split)
    command += f" --minutes {minutes}" if minutes else ""
    write(page(_read(raw), _read(large)), NAME, out, command, time.perf_counter() - start)
    click.echo(out / f"{NAME}.md")


def _read(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [dict(row) for row in csv.DictReader(file)]


def _rows(
    models: int,
    seeds: int,
    population: Path | None,
    families: int,
    splits: tuple[Path, ...],
    graphs: Path,
    known: Mapping[tuple[str, ...], dict[str, object]],
) -> Iterator[dict[str, object]]:
    from experiments.attributes import trained, worlds
    from experiments.attributes.page import FEWER, FOUND, GRAPHS, TRUE
    from experiments.attributes.trial import trials

    other = (TRUE, FEWER)
    kept = []
    if population is not None:
        made = sorted(p for p in population.iterdir() if len([*p.glob("*.safetensors")]) > 1)
        judged = [p for p in made if _half(p) == "judge"][:families]
        kept.append(trained.population(judged, graphs, MISSING))
    if splits:
        kept.append(trained.splits(splits, graphs, MISSING))
    for seed in range(seeds):
        true = worlds.simulated(models, seed)
        found = worlds.recovered(true, WRONG, seed)
        for three in [(true, found, worlds.without(found, MISSING, seed)), *kept]:
            several = dict(zip(GRAPHS, three, strict=True))
            for tried, share, by_subtree in product(((FOUND,), other), HIDDEN, (False, True)):
                if tried == other and (seed or share not in ON_ALL):  # takes three times as long
                    continue
                for row in trials(
                    several, share, by_subtree, seed, tried, compared=[FOUND], known=known
                ):
                    yield {**row, "split": row["world"]}


def _half(folder: Path) -> str:
    return str(json.loads((folder / "plan.json").read_text())["half"])
