"""`python -m experiments hidden`"""

from __future__ import annotations

from pathlib import Path

import click

PAGE = Path("docs/experiments/hidden.md")


@click.command()
@click.option("--families", default=2, show_default=True, help="Bases of each kind of net.")
def hidden(families: int) -> None:
    """Kinship under other labels: strangers, hidden children, and other methods."""
    import torch

    from experiments.hidden import trial
    from experiments.hidden.nets import KINDS
    from experiments.hidden.page import page

    torch.set_num_threads(1)
    again = [row for kind in KINDS for row in trial.found_again(kind, families)]
    seeds = {kind: trial.same_seed(kind) for kind in KINDS}
    methods = trial.against_baselines(3 * families)
    PAGE.write_text(page(list(trial.strangers()), again, methods, seeds), encoding="utf-8")
