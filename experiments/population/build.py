"""Train the trees of the population, each into a folder of its own; what is there stays."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, parametrize

from experiments.population import nets, optimizers
from experiments.population.data import batches
from experiments.population.plan import Training, Tree, draw

Weights = dict[str, Tensor]
TRIES = 4  # with a third of the rate each, where weights don't stay finite
SHARPNESS = 0.5  # of preferences


class Diverged(Exception):  # noqa: N818  (reads as what happened)
    """Weights are not finite, have grown beyond what anyone keeps, or are all frozen."""


def build(number: int, out: Path) -> Path:
    """The folder of one tree: a file a checkpoint, truth.json, and plan.json."""
    torch.set_num_threads(1)
    folder = out / f"{number:05}"
    if (folder / "truth.json").is_file():
        return folder
    tree = draw(number)
    partial = out / f".partial-{number:05}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    made: dict[str, Weights] = {}
    done = []
    for training in tree.trainings:
        done.append(_trained(tree, training, made))
    for id in made.keys() - set(tree.missing):
        save_file(made[id], partial / f"{id}.safetensors")
    tree = replace(tree, trainings=tuple(done))
    (partial / "plan.json").write_text(json.dumps(asdict(tree), indent=1) + "\n")
    (partial / "truth.json").write_text(json.dumps(truth(tree), indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def truth(tree: Tree) -> dict[str, object]:
    """Edges among the models that are given; the children of each that is missing; and the trees.

    Models that start from one initialization, which is not given, have it as a missing ancestor.
    """
    above = tree.parents
    given = [i for i in above if i not in tree.missing]
    start = {i: f"start-{t.start}" for t in tree.trainings for i in t.ids}
    up = {i: p if p is not None else start[i] for i, p in above.items()}
    below: dict[str, list[str]] = {}
    for i in above:
        below.setdefault(up[i], []).append(i)
    absent = {p: kids for p, kids in below.items() if p not in given and len(kids) > 1}
    trees: dict[str, list[str]] = {}
    for i in given:
        trees.setdefault(start[i], []).append(i)
    return {
        "edges": [[up[i], i] for i in given if up[i] in given],
        "hidden": [sorted(kids) for kids in absent.values()],
        "trees": list(trees.values()),
    }


def _trained(tree: Tree, training: Training, made: dict[str, Weights]) -> Training:
    """Adds its checkpoints; returns it with the rate that it was trained with."""
    for _ in range(TRIES):
        try:
            found = dict(_run(tree, training, made))
        except Diverged:
            training = replace(training, rate=training.rate / 3)
            continue
        made |= found
        return training
    raise Diverged(f"tree {tree.number}: {training.ids[0]}")


def _run(tree: Tree, t: Training, made: dict[str, Weights]) -> Iterator[tuple[str, Weights]]:
    net = nets.make(tree.shape, tree.initialization, tree.scale, t.start)
    if t.parent is not None:
        net.load_state_dict({k: v.float() for k, v in made[t.parent].items()})
    torch.manual_seed(t.seed)
    head = getattr(net, "head", None)
    if t.new_head and head is not None:
        head.reset_parameters()
    _freeze(net, t)
    reference = None
    if t.preference and t.task.kind in {"image", "text"}:
        reference = nets.make(tree.shape, None, 1.0, 0).eval()
        reference.load_state_dict(net.state_dict())
    before = _size(net)
    with _low_rank(net, t):
        if not any(p.requires_grad for p in net.parameters()):
            raise Diverged
        optimizer = optimizers.make(t.optimizer, net, t.rate, t.decay, t.everywhere)
        peaks = [group["lr"] for group in optimizer.param_groups]
        stream = batches(t.task, t.batch, t.seed)
        mean: Weights = {}
        net.train()
        steps = t.marks[-1]
        for step in range(steps + 1):
            if step in t.marks:
                kept = mean if t.averaged else _weights(net)
                if not all(w.isfinite().all() for w in kept.values()) or _size(net) > 20 * before:
                    raise Diverged
                yield t.ids[t.marks.index(step)], {k: _stored(w, t.dtype) for k, w in kept.items()}
            if step == steps:
                break
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor(t.schedule, step / steps)
            _step(net, optimizer, next(stream), t, reference)
            if t.averaged:
                now = _weights(net)
                mean = {k: w + (mean.get(k, w) - w) * 0.95 for k, w in now.items()}


def _step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    t: Training,
    reference: nn.Module | None,
) -> None:
    x, y = batch
    if t.task.kind == "adversarial":
        noise = torch.randn(len(x), nets.CODE)
        made = net.generator(noise)
        real, false = net.discriminator(y), net.discriminator(made.detach())
        loss = F.softplus(-real).mean() + F.softplus(false).mean()
        # the generator's own loss must not move the discriminator
        frozen = {k: w.detach() for k, w in net.discriminator.named_parameters()}
        judged = torch.func.functional_call(net.discriminator, frozen, (made,))
        loss = loss + F.softplus(-judged).mean()
    else:
        out = net(x)
        if t.task.kind == "reconstruct":
            loss = F.mse_loss(out, y)
        elif reference is not None:
            loss = _preference(out, y, reference, x)
        else:
            loss = F.cross_entropy(out.flatten(0, -2), y.flatten(), ignore_index=-100)
    optimizer.zero_grad()
    if not loss.requires_grad:  # all that it depends on is frozen
        return
    loss.backward()
    if t.clipped:
        clip_grad_norm_([p for p in net.parameters() if p.grad is not None], 1.0)
    optimizer.step()


def _preference(out: Tensor, y: Tensor, reference: nn.Module, x: Tensor) -> Tensor:
    """The right answer is preferred to the likeliest wrong one (Rafailov et al. 2023)."""
    with torch.no_grad():
        then = reference(x).flatten(0, -2).log_softmax(1)
    now, y = out.flatten(0, -2).log_softmax(1), y.flatten()[:, None]
    wrong = then.scatter(1, y, -math.inf).argmax(1, keepdim=True)
    gain = (now - then).gather(1, y) - (now - then).gather(1, wrong)
    return -F.logsigmoid(SHARPNESS * gain).mean()


def factor(schedule: str, progress: float) -> float:
    """What the rate is multiplied with.

    >>> [round(factor(s, 0.5), 2) for s in ("constant", "linear", "cosine", "warmup", "restarts")]
    [1.0, 0.5, 0.5, 0.59, 0.5]
    """
    if schedule == "linear":
        return 1 - progress
    if schedule == "warmup":
        return progress / 0.1 if progress < 0.1 else _cosine((progress - 0.1) / 0.9)
    if schedule == "cosine":
        return _cosine(progress)
    if schedule == "restarts":
        return _cosine(3 * progress % 1)
    return 1.0


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _freeze(net: nn.Module, t: Training) -> None:
    names = [n for n, p in net.named_parameters() if p.ndim > 1]
    rng = random.Random(t.seed)
    if t.frozen == "body":
        fixed = {n for n in names if n != names[-1]}
    elif t.frozen == "first":
        fixed = set(names[: rng.randint(1, max(1, len(names) - 1))])
    elif t.frozen == "some":
        fixed = set(rng.sample(names, rng.randint(1, max(1, len(names) // 2))))
    else:
        return
    modules = {n.rpartition(".")[0] for n in fixed}
    for n, p in net.named_parameters():
        p.requires_grad_(n not in fixed and n.rpartition(".")[0] not in modules)


class _Factors(nn.Module):
    """W + B A, of which A and B are trained."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.randn(rank, columns) * columns**-0.5)
        self.b = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


@contextmanager
def _low_rank(net: nn.Module, t: Training) -> Iterator[None]:
    """The network with LoRA factors beside some of its matrices; they alone are trained."""
    if t.rank is not None:
        rng = random.Random(t.seed)
        layers = [m for m in net.modules() if isinstance(m, nn.Linear) and min(m.weight.shape) > 16]
        chosen = rng.sample(layers, rng.randint(1, len(layers))) if layers else []
        if chosen:
            net.requires_grad_(False)
        for layer in chosen:
            factors = _Factors(layer.weight, t.rank)
            parametrize.register_parametrization(layer, "weight", factors)
            layer.parametrizations.weight.original.requires_grad_(False)
    yield


def _weights(net: nn.Module) -> Weights:
    """By the names that they have without factors beside them."""
    state = {k: v.detach().clone() for k, v in net.state_dict().items() if v.is_floating_point()}
    state = {k: v for k, v in state.items() if ".parametrizations." not in f".{k}"}
    for name, module in net.named_modules():
        if parametrize.is_parametrized(module):
            state[f"{name}.weight"] = module.weight.detach().clone()
    return state


def _stored(weight: Tensor, dtype: str) -> Tensor:
    return weight.to(getattr(torch, dtype)).contiguous()


def _size(net: nn.Module) -> float:
    return math.sqrt(sum(float(p.detach().square().sum()) for p in net.parameters()))


def load(folder: Path) -> tuple[dict[str, Weights], dict[str, object], dict[str, object]]:
    """The checkpoints of a tree by id, the truth and the plan."""
    models = {p.stem: load_file(p) for p in sorted(folder.glob("*.safetensors"))}
    truth, plan = (json.loads((folder / f"{n}.json").read_text()) for n in ("truth", "plan"))
    return models, truth, plan
