"""A small graph neural network: GraphSAGE (Hamilton, Ying and Leskovec 2017) on plain torch.

A model sees what weights show of it and of the step that made it, what it states, and the means of
the same over its parents, its children and its siblings, two steps far. While it learns, a half of
what is stated is hidden from it, and is what it has to tell (as in Shi and others 2021).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.attributes.methods import Array, Method

WIDTH, EPOCHS, RATE, DECAY, DROPPED = 32, 80, 0.02, 1e-3, 0.3
TRIED = 0.15  # of what is stated, to tell when to stop and how sure to be
EVERY = 5  # epochs between looks at that
TEMPERATURES = (0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
SEED = 0


def graph_network(above: csr_array, features: Array) -> Method:
    """above: (n, n) of models and hidden ancestors, 1 where the column is a parent of the row;
    features: (models, features), each of spread 1."""
    n = above.shape[0]
    wide = np.zeros((n, features.shape[1]))
    wide[: len(features)] = features
    known = torch.tensor(wide, dtype=torch.float32)
    below = csr_array(above.T)
    ways = [_mean_over(x) for x in (above, below, csr_array(above @ below))]

    def run(joined: csr_array, stated: Array) -> Array:
        torch.manual_seed(SEED)
        told = np.flatnonzero(stated[:, 0].sum(1) > 0)
        order = torch.randperm(len(told)).numpy()
        tried = told[order[: int(TRIED * len(told))]]
        taught = told[order[len(tried) :]]
        y = torch.tensor(stated, dtype=torch.float32)
        net = _Sage(known.shape[1] + y[0].numel() + 1, y.shape[1:])
        look = _learn(net, known, ways, y, taught, tried)
        with torch.no_grad():
            logits = net(_seen(known, y, told), ways) / look
        return logits.softmax(-1).double().numpy()

    return run


def _mean_over(joined: csr_array) -> Tensor:
    many = np.maximum(np.asarray(joined.sum(1)).ravel(), 1)
    own = (diags_array(1 / many) @ joined).tocoo()
    at = torch.tensor(np.stack([own.row, own.col]), dtype=torch.int64)
    values = torch.tensor(own.data, dtype=torch.float32)
    return torch.sparse_coo_tensor(at, values, own.shape, check_invariants=True).coalesce()


def _seen(known: Tensor, y: Tensor, at: np.ndarray) -> Tensor:
    """(n, inputs) what weights show, and what some models state."""
    shown = torch.zeros(len(y), y[0].numel() + 1)
    shown[at, :-1] = y[at].flatten(1)
    shown[at, -1] = 1
    return torch.cat([known, shown], 1)


class _Sage(nn.Module):
    def __init__(self, inputs: int, out: torch.Size) -> None:
        super().__init__()
        self.out = out
        widths = (inputs, WIDTH, WIDTH)
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.Linear(a, b, bias=k == 0) for k in range(4))
            for a, b in pairwise(widths)
        )
        self.last = nn.Linear(WIDTH, out.numel())

    def forward(self, x: Tensor, ways: list[Tensor]) -> Tensor:
        for own, *others in self.layers:
            handed = [torch.sparse.mm(way, f(x)) for way, f in zip(ways, others, strict=True)]
            x = F.dropout(F.relu(own(x) + sum(handed)), DROPPED, self.training)
        return self.last(x).unflatten(1, self.out)


def _loss(logits: Tensor, y: Tensor) -> Tensor:
    return -(y * logits.log_softmax(-1)).sum(-1).mean()


def _learn(
    net: _Sage, known: Tensor, ways: list[Tensor], y: Tensor, taught: np.ndarray, tried: np.ndarray
) -> float:
    """Leaves the network as it was when it told best what was tried; the temperature then."""
    best, kept, look = np.inf, net.state_dict(), 1.0
    optimizer = torch.optim.Adam(net.parameters(), RATE, weight_decay=DECAY)
    for epoch in range(EPOCHS):
        hidden = torch.rand(len(taught)).numpy() < 0.5
        net.train()
        optimizer.zero_grad()
        logits = net(_seen(known, y, taught[~hidden]), ways)
        _loss(logits[taught[hidden]], y[taught[hidden]]).backward()
        optimizer.step()
        if epoch % EVERY == EVERY - 1 and len(tried):
            net.eval()
            with torch.no_grad():
                found = net(_seen(known, y, taught), ways)[tried]
                losses = [(float(_loss(found / t, y[tried])), t) for t in TEMPERATURES]
            if min(losses)[0] < best:
                best, look = min(losses)
                kept = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(kept)
    net.eval()
    return look
