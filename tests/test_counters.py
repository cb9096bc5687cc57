"""Batches that batch norms counted, as torch stores them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mother
from mother.checkpoints import open_checkpoint
from mother.evidence.counters import Counted
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.sketch import sketch

ONE, OTHER = np.array([0]), np.array([1])


def test_who_has_counted_further_is_the_child(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Linear(32, 32), nn.BatchNorm1d(32)
    )
    torch.save(net.state_dict(), tmp_path / "z.pt")
    for _ in range(7):
        net(torch.randn(8, 16))
    with torch.no_grad():  # a drift that tells nothing of who was first
        for w in net.parameters():
            w.add_(0.02 * torch.randn_like(w))
    torch.save(net.state_dict(), tmp_path / "a.pt")
    (edge,) = mother.recover(tmp_path).edges
    assert (edge.parent, edge.child) == ("z", "a")
    (said,) = (x for x in edge.evidence if x.kind == "counters")
    assert said.log_odds > 2
    assert said.says == "the child has counted 7 batches more"


def test_sketches_keep_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Linear(32, 32))
    torch.save(net.state_dict(), tmp_path / "z.pt")
    net(torch.randn(8, 16))
    moved = {n: w + 0.02 * torch.randn_like(w) for n, w in net.named_parameters()}
    torch.save(net.state_dict() | moved, tmp_path / "a.pt")
    small = [sketch(open_checkpoint(tmp_path / f"{id}.pt"), 4096) for id in "az"]
    (edge,) = recover_checkpoints(small, Options()).edges
    assert "counters" not in {x.kind for x in edge.evidence}


@pytest.mark.parametrize(
    ("rise", "sign"),
    [
        ([4, 4, 4], 1),
        ([-4, -4, 0], -1),
        ([4, 4, -4], 0),  # up and down
        ([3, 5, 9], 0),  # none together: codes, zero points
        ([4, 0, 0], 0),  # one alone
        ([0, 0, 0], 0),
        ([np.nan, 2, 2], 1),
        ([5, 5, 9, 9], 1),  # two nets that were trained for different times
    ],
)
def test_what_counters_say(rise: list[float], sign: int) -> None:
    start = np.arange(100.0, 100 + len(rise))
    told = Counted(np.stack([start, start + rise], axis=1))
    assert np.sign(told.log_odds(ONE, OTHER)).tolist() == [sign]
    assert (told.log_odds(OTHER, ONE) == -told.log_odds(ONE, OTHER)).all()
