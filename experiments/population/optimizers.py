"""Optimizers, each with the learning rate that is usual for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn, optim


class Lion(optim.Optimizer):
    """Steps by the sign of an average of gradients (Chen et al. 2023, arXiv 2302.06675)."""

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * (0.9 * average + 0.1 * p.grad).sign())
                average.mul_(0.99).add_(p.grad, alpha=0.01)


class Muon(optim.Optimizer):
    """Muon for matrices, AdamW for the rest, as it is used."""

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0) -> None:
        groups = list(params)
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        every = [(p, g["weight_decay"]) for g in groups for p in g["params"]]
        both = [
            [{"params": [p], "weight_decay": w} for p, w in every if (p.ndim == 2) == matrices]
            for matrices in (True, False)
        ]
        self._parts: list[optim.Optimizer] = []
        if both[0]:
            self._parts.append(optim.Muon(both[0], lr=lr, weight_decay=weight_decay))
        if both[1]:
            self._parts.append(optim.AdamW(both[1], lr=lr / 5, fused=True))

    def step(self, closure: Any = None) -> None:
        share = self.param_groups[0]["lr"]
        for part, scale in zip(self._parts, (1.0, 0.2), strict=False):
            for group in part.param_groups:
                group["lr"] = share * scale
            part.step()


Make = Callable[[Iterable[dict[str, Any]], float], optim.Optimizer]

#: name: usual learning rate, and how it is made
OPTIMIZERS: dict[str, tuple[float, Make]] = {
    "sgd": (0.05, lambda p, lr: optim.SGD(p, lr=lr, fused=True)),
    "momentum": (0.01, lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, fused=True)),
    "adam": (1e-3, lambda p, lr: optim.Adam(p, lr=lr, fused=True)),
    "adamw": (1e-3, lambda p, lr: optim.AdamW(p, lr=lr, fused=True)),
    "adagrad": (0.01, lambda p, lr: optim.Adagrad(p, lr=lr, fused=True)),
    "nesterov": (0.01, lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, nesterov=True, fused=True)),
    "lion": (2e-4, Lion),
    "muon": (5e-3, Muon),
    "rmsprop": (1e-3, lambda p, lr: optim.RMSprop(p, lr=lr, foreach=True)),
    "nadam": (1e-3, lambda p, lr: optim.NAdam(p, lr=lr, foreach=True)),
    "adafactor": (0.01, lambda p, lr: optim.Adafactor(p, lr=lr, foreach=True)),
}


def make(name: str, net: nn.Module, rate: float, decay: float, everywhere: bool) -> Any:
    """An optimizer of what can be trained. rate: times the usual one. decay: of matrices, and of
    vectors too where it is `everywhere`."""
    usual, of = OPTIMIZERS[name]
    trained: list[Tensor] = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": kept, "weight_decay": decay if matrices or everywhere else 0.0}
        for matrices in (True, False)
        if (kept := [p for p in trained if (p.ndim > 1) == matrices])
    ]
    return of(groups, usual * rate)
