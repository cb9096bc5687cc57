"""`python -m experiments hidden`"""

from __future__ import annotations

from pathlib import Path

import click

PAGE = Path("docs/experiments/hidden.md")
CHANCE_PAGE = Path("docs/experiments/chance.md")
WIRINGS_PAGE = Path("docs/experiments/wirings.md")


@click.command()
@click.option("--families", default=2, show_default=True, help="Bases of each kind of net.")
@click.option("--crowd", default=100_000, show_default=True, help="Strangers in the index.")
def hidden(families: int, crowd: int) -> None:
    """Kinship under other labels: hidden children, and other methods."""
    import torch

    from experiments.hidden import trial
    from experiments.hidden.cost import costs
    from experiments.hidden.crowd import placed
    from experiments.hidden.nets import KINDS
    from experiments.hidden.page import page

    torch.set_num_threads(1)
    again = [row for kind in KINDS for row in trial.found_again(kind, families)]
    seeds = {kind: trial.same_seed(kind) for kind in KINDS}
    methods = trial.against_baselines(3 * families)
    found = [placed("decoder", trial.families("decoder", families), crowd)]
    text = page(again, methods, seeds, (crowd, found), list(costs()))
    PAGE.write_text(text, encoding="utf-8")


@click.command()
def wirings() -> None:
    """Kinship under other labels of recurrent, branching and other nets."""
    import torch

    from experiments.hidden.found import page, rows

    torch.set_num_threads(1)
    WIRINGS_PAGE.write_text(page(list(rows())), encoding="utf-8")


@click.command()
def chance() -> None:
    """The p of kinship where no wiring is known, of strangers."""
    import torch

    from experiments.hidden.chance import page, rows

    torch.set_num_threads(1)
    CHANCE_PAGE.write_text(page(list(rows())), encoding="utf-8")
