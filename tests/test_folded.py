"""Copies into which batch norms were folded, as torch folds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import mother


def net(seed: int) -> nn.Sequential:
    """Norms with statistics, as training leaves them."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for width, into in ((12, 3), (16, 12), (16, 16)):
        norm = nn.BatchNorm2d(width)
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias, 0.0, 0.2)
        norm.running_mean = torch.randn(width)
        norm.running_var = torch.rand(width) + 0.1
        layers += [nn.Conv2d(into, width, 3), norm]
    norm = nn.BatchNorm1d(20)
    norm.running_var = torch.rand(20) + 0.1
    return nn.Sequential(*layers, nn.Linear(16, 20), norm).eval()


def tuned(model: nn.Sequential, seed: int) -> nn.Sequential:
    out = net(0)
    torch.manual_seed(seed)
    out.load_state_dict(
        {
            n: w + 0.05 * w.std() * torch.randn_like(w) if w.is_floating_point() else w
            for n, w in model.state_dict().items()
        }
    )
    return out


def folded(model: nn.Sequential) -> nn.Sequential:
    out: list[nn.Module] = []
    for one, norm in zip(list(model)[::2], list(model)[1::2], strict=True):
        fold = fuse_conv_bn_eval if isinstance(one, nn.Conv2d) else fuse_linear_bn_eval
        out += [fold(one, norm), nn.Identity()]
    return nn.Sequential(*out)


def saved(folder: Path, **models: nn.Module) -> Path:
    for id, model in models.items():
        torch.save(model.state_dict(), folder / f"{id}.pt")
    return folder


@pytest.mark.parametrize("half", [False, True])
def test_what_norms_were_folded_into_is_a_converted_leaf(tmp_path, half):
    base = net(1)
    family = {"base": base, "kid": tuned(base, 2), "kin": tuned(base, 3)}
    alone = mother.recover(saved(tmp_path, **family))
    for id, model in family.items():
        copy = folded(model)
        saved(tmp_path, **{f"a_{id}": copy.half() if half else copy})
    graph = mother.recover(tmp_path)
    copies = {e.child: e for e in graph.edges if e.child.startswith("a_")}
    assert {id: e.parent for id, e in copies.items()} == {f"a_{id}": id for id in family}
    for edge in copies.values():
        assert (edge.relation, edge.scheme) == ("converted", "norms folded in")
        assert not edge.undirected
    assert {(e.parent, e.child) for e in graph.edges} - {
        (e.parent, e.child) for e in copies.values()
    } == {(e.parent, e.child) for e in alone.edges}
    pair = mother.compare(tmp_path / "base.pt", tmp_path / "a_base.pt")
    assert (pair.relation, pair.parent) == ("converted", "a")


def test_another_row_is_no_folding(tmp_path):
    """One row that was trained, too, or norms that were trained with all else frozen."""
    base, other = net(1), folded(net(1))
    with torch.no_grad():
        other[2].weight[3] += 0.01 * torch.randn_like(other[2].weight[3])
    frozen = tuned(base, 4)
    frozen.load_state_dict(
        frozen.state_dict() | {n: w for n, w in base.state_dict().items() if w.ndim > 1}
    )
    graph = mother.recover(saved(tmp_path, base=base, other=other, frozen=frozen))
    assert not [e for e in graph.edges if e.relation == "converted"]


def test_rows_of_nothing_fold(tmp_path):
    """Dead outputs stay dead."""
    base = net(1)
    with torch.no_grad():
        base[2].weight[5] = 0.0
    (edge,) = mother.recover(saved(tmp_path, base=base, export=folded(base))).edges
    assert (edge.parent, edge.child) == ("base", "export")
    assert np.isclose(edge.direction_probability, 1.0)
