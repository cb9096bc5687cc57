"""Nets of convolutions, and those that make pictures, from noise or from sketches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from experiments.corpora import draw
from experiments.lab.kinds import BESIDE, kind

ANY = "fine-tune continuation"
TEXTS = ("manual", "readme", "headers", "python")


class _Branched(nn.Module):
    """RepVGG (Ding and others 2021): a 3x3, a 1x1 and an identity, which are one 3x3 later."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.point = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.wide(x) + self.point(x) + x)


def _net(*, branched: bool = False) -> nn.Sequential:
    """Sorts pieces of text, as pictures of 8 by 8 bytes."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Conv2d(1, 24, 3, padding=1))
    for k in range(4):
        parts[f"block{k}"] = _Branched(24) if branched else nn.Conv2d(24, 24, 3, padding=1)
        if not branched:
            parts[f"norm{k}"] = nn.BatchNorm2d(24)
            parts[f"act{k}"] = nn.ReLU()
    parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(24, 4)}
    return nn.Sequential(parts)


def _pictures(seed: int, shift: float) -> tuple[Tensor, Tensor]:
    every = [draw(text, "train", 200, seed).inputs for text in TEXTS]
    x = torch.cat(every)[:, :64].reshape(-1, 1, 8, 8).float() / 64 - 1
    return x + shift, torch.arange(4).repeat_interleave(200)


def _fitted(net: nn.Module, seed: int, steps: int, rate: float, shift: float = 0.0) -> None:
    x, y = _pictures(seed, shift)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=rate)
    net.train()
    for k in range(steps):
        some = order[(32 * k) % 768 :][:32]
        nn.functional.cross_entropy(net(x[some]), y[some]).backward()
        optimiser.step()
        optimiser.zero_grad()


def _saved(folder: Path, values: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {n: w.detach().clone().contiguous() for n, w in values.items()}
    save_file(whole, folder / "model.safetensors")


def _nets(folder: Path, *, branched: bool = False) -> nn.Sequential:
    """v0, and v1 and v2 from it; v1 is returned."""
    torch.manual_seed(150)
    net = _net(branched=branched)
    _fitted(net, 151, 120, 3e-3)
    start = {n: w.clone() for n, w in net.state_dict().items()}
    _saved(folder / "v0", start)
    for name, shift in (("v2", 0.3), ("v1", -0.3)):
        net.load_state_dict(start)
        _fitted(net, 152 + len(name), 60, 5e-4, shift)
        _saved(folder / name, dict(net.state_dict()))
    return net


def _from_net(
    name: str, relations: str, change: Callable[[nn.Sequential], dict[str, Tensor]], **given: Any
) -> None:
    @kind(name, "v1", relations, last=True)
    def make(folder: Path, out: Path) -> None:
        _saved(out, change(_nets(out / BESIDE, **given)))


def _recalibrated(net: nn.Sequential) -> dict[str, Tensor]:
    net.train()
    with torch.no_grad():
        for k in range(20):
            net(_pictures(160, 0.5)[0][32 * k : 32 * (k + 1)])
    return dict(net.state_dict())


def _norms_alone(net: nn.Sequential) -> dict[str, Tensor]:
    for n, p in net.named_parameters():
        p.requires_grad_("norm" in n)
    _fitted(net, 161, 40, 3e-3, 0.5)
    return dict(net.state_dict())


def _norms_folded(net: nn.Sequential) -> dict[str, Tensor]:
    values = dict(net.state_dict())
    for k in range(4):
        norm = {x: values.pop(f"norm{k}.{x}") for x in ("weight", "bias", "running_mean")}
        scale = norm["weight"] / (values.pop(f"norm{k}.running_var") + 1e-5).sqrt()
        values.pop(f"norm{k}.num_batches_tracked")
        w, b = values[f"block{k}.weight"], values[f"block{k}.bias"]
        values[f"block{k}.weight"] = w * scale[:, None, None, None]
        values[f"block{k}.bias"] = (b - norm["running_mean"]) * scale + norm["bias"]
    return values


def _tucker(net: nn.Sequential) -> dict[str, Tensor]:
    """Each kernel as three (Kim and others 2016), by its two largest spaces."""
    values = dict(net.state_dict())
    for k in range(4):
        w = values.pop(f"block{k}.weight")
        out = torch.linalg.svd(w.reshape(24, -1), full_matrices=False)[0][:, :12]
        into = torch.linalg.svd(w.transpose(0, 1).reshape(24, -1), full_matrices=False)[0][:, :12]
        core = torch.einsum("oikl,or,is->rskl", w, out, into)
        values[f"block{k}.0.weight"] = into.T[:, :, None, None]
        values[f"block{k}.1.weight"] = core
        values[f"block{k}.2.weight"] = out[:, :, None, None]
        values[f"block{k}.2.bias"] = values.pop(f"block{k}.bias")
    return values


def _one_kernel(net: nn.Sequential) -> dict[str, Tensor]:
    values = dict(net.state_dict())
    for k in range(4):
        w = values.pop(f"block{k}.wide.weight").clone()
        w[:, :, 1, 1] += values.pop(f"block{k}.point.weight")[:, :, 0, 0] + torch.eye(24)
        values[f"block{k}.reparam.weight"] = w
        bias = values.pop(f"block{k}.wide.bias") + values.pop(f"block{k}.point.bias")
        values[f"block{k}.reparam.bias"] = bias
    return values


def _other_classes(net: nn.Sequential) -> dict[str, Tensor]:
    torch.manual_seed(162)
    net.head = nn.Linear(24, 7)
    _fitted(net, 163, 60, 1e-3, 0.5)
    return dict(net.state_dict())


def _filters_dropped(net: nn.Sequential) -> dict[str, Tensor]:
    """Structured pruning: some filters of each block, and what reads them."""
    values, kept = dict(net.state_dict()), torch.arange(24)
    for k in range(4):
        w = values[f"block{k}.weight"][:, kept]
        kept = w.abs().sum((1, 2, 3)).argsort(descending=True)[:18].sort().values
        values[f"block{k}.weight"] = w[kept]
        for n in ("block{}.bias", "norm{}.weight", "norm{}.bias", "norm{}.running_mean"):
            values[n.format(k)] = values[n.format(k)][kept]
        values[f"norm{k}.running_var"] = values[f"norm{k}.running_var"][kept]
    values["head.weight"] = values["head.weight"][:, kept]
    return values


_from_net("batch norms recalibrated", ANY + " edited converted", _recalibrated)
_from_net("batch norms alone trained", ANY + " edited", _norms_alone)
_from_net("batch norms folded", "converted edited contains fine-tune", _norms_folded)
_from_net("kernels in three factors", "edited reshaped fine-tune", _tucker)
_from_net("branches fused into kernels", "converted edited fine-tune", _one_kernel, branched=True)
_from_net("other classes, all trained", ANY, _other_classes)
_from_net("filters dropped", "reshaped", _filters_dropped)


# from noise


def _unet(folder: Path, channels: int = 4) -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(170)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    _denoise(unet, 171, 60, 1e-3)
    unet.save_pretrained(folder / "unet")
    _denoise(unet, 172, 20, 3e-4)
    unet.save_pretrained(folder / "tuned")
    return unet


def _denoise(unet: Any, seed: int, steps: int, rate: float, more: int = 0) -> None:
    draws = torch.Generator().manual_seed(seed)
    x = _pictures(seed, 0.0)[0]
    optimiser = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad], lr=rate)
    for k in range(steps):
        clean = x[(8 * k) % 768 :][:8].repeat(1, 4, 1, 1)
        noise = torch.randn(clean.shape, generator=draws)
        time = torch.randint(1000, (8,), generator=draws)
        mixed = clean + noise * (time / 500)[:, None, None, None]
        mixed = torch.cat([mixed, clean.new_zeros(8, more, 8, 8)], 1)
        text = torch.randn(8, 4, 16, generator=draws)
        said = unet(mixed, time, encoder_hidden_states=text).sample
        nn.functional.mse_loss(said, noise).backward()
        optimiser.step()
        optimiser.zero_grad()


@kind("one subject taught", "tuned", ANY, "diffusers", last=True)
def _dreambooth(folder: Path, out: Path) -> None:
    unet = _unet(out / BESIDE)
    _denoise(unet, 173, 40, 5e-5)
    unet.save_pretrained(out)


@kind("a lora fused into a net of pictures", "tuned", "lora", "diffusers", last=True)
def _lcm(folder: Path, out: Path) -> None:
    from peft import LoraConfig

    unet = _unet(out / BESIDE)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"]))
    _denoise(unet, 174, 40, 5e-3)
    unet.fuse_lora()
    unet.unload_lora()
    unet.save_pretrained(out)


@kind(
    "channels added to the first kernel", "tuned", "resized reshaped " + ANY, "diffusers", last=True
)
def _inpainting(folder: Path, out: Path) -> None:
    unet = _unet(out / BESIDE)
    old = unet.conv_in
    unet.conv_in = nn.Conv2d(9, 16, 3, padding=1)
    with torch.no_grad():
        unet.conv_in.weight.zero_()
        unet.conv_in.weight[:, :4] = old.weight
        unet.conv_in.bias.copy_(old.bias)
    unet.register_to_config(in_channels=9)
    _denoise(unet, 175, 40, 3e-4, more=5)
    unet.save_pretrained(out)


@kind(
    "a copy of the encoder that controls",
    "tuned",
    "contains reshaped resized " + ANY,
    "diffusers",
    last=True,
)
def _controls(folder: Path, out: Path) -> None:
    from diffusers import ControlNetModel

    unet = _unet(out / BESIDE)
    net = ControlNetModel.from_unet(unet, conditioning_channels=1)
    draws = torch.Generator().manual_seed(176)
    for p in net.parameters():
        p.data += 0.02 * p.data.std() * torch.randn(p.shape, generator=draws)
    net.save_pretrained(out)


@kind("averaged weights of the run beside it", "end", "average " + ANY, "diffusers", last=True)
def _ema(folder: Path, out: Path) -> None:
    """unet_ema: the moving average that a pipeline is stored with, beside the run's last point."""
    unet = _unet(out / BESIDE)
    mean = {n: w.clone() for n, w in unet.state_dict().items()}
    for k in range(20):
        _denoise(unet, 180 + k, 3, 3e-4)
        for n, w in unet.state_dict().items():
            mean[n] = 0.9 * mean[n] + 0.1 * w
    unet.save_pretrained(out / BESIDE / "end")
    unet.load_state_dict(mean)
    unet.save_pretrained(out)
