"""python -m experiments.lab DATA [--half fits|judges|last|all] [NAME...]: make the family and the
kinds, print the scoreboard."""

from __future__ import annotations

from pathlib import Path

import click

from experiments.lab import (  # noqa: F401
    adapters,
    averages,
    combined,
    edited,
    merges,
    parts,
    pictures,
    reshaped,
    rewritten,
    tuned,
)
from experiments.lab.kinds import KINDS
from experiments.lab.models import family
from experiments.lab.score import made, page, scores


@click.command()
@click.argument("data", type=click.Path(path_type=Path, file_okay=False))
@click.argument("names", nargs=-1)
@click.option("--half", type=click.Choice(["fits", "judges", "last", "all"]), default="fits")
@click.option("--make", is_flag=True, help="Make them, and score none.")
def main(data: Path, names: tuple[str, ...], half: str, make: bool) -> None:
    """Make the family and the kinds in a folder, and print the scoreboard."""
    (data / "kinds").mkdir(parents=True, exist_ok=True)
    family(data / "family")
    chosen = list(names) or [n for n, k in KINDS.items() if half in ("all", k.half)]
    made(data, KINDS if make else chosen)
    if not make:
        print(page(list(scores(data, chosen))), end="")


if __name__ == "__main__":
    main()
