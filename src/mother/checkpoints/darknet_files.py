"""Darknet's .weights: floats one after another, which the .cfg beside them tells apart.

A tensor is called by the number of its layer in the .cfg, the layer's kind and the field of
Darknet's `layer` that it is loaded into: "0.convolutional.weights". The layers of the .cfg must
take all of the file.
Format: `load_weights_upto` in https://github.com/AlexeyAB/darknet/blob/master/src/parser.c
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mother.checkpoints.laid_out import Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, Tensor, clean
from mother.checkpoints.work import STEP

MAX_CFG = 1 << 20
#: sizes in a .cfg
MAX_SIZE = 1 << 24
_FLOAT = np.dtype("<f4")
#: layers without weights that leave the number of channels as it is
_PLAIN = frozenset(
    {
        *("activation", "avgpool", "contrastive", "cost", "crop", "detection", "dropout", "empty"),
        *("gaussian_yolo", "iseg", "l2norm", "local_avgpool", "logistic", "logxent", "maxpool"),
        *("noop", "region", "silence", "soft", "softmax", "yolo"),
    }
)
_NAMES = {"conv": "convolutional", "conn": "connected", "avg": "avgpool", "max": "maxpool"}
Size = tuple[int, int, int]  # channels, height, width
Own = list[tuple[str, tuple[int, ...]]]  # names and shapes of a layer's tensors


def is_darknet(file: File, start: bytes) -> bool:
    """Whether a file is taken for Darknet's: by its ending, since it has no magic."""
    return file.path.suffix.lower() == ".weights"


@dataclass
class _Section:
    """A part of a .cfg: its kind and its options."""

    kind: str
    options: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, default: int) -> int:
        """An option that is a size."""
        text = self.options.get(name, str(default))
        if not re.fullmatch(r"\d{1,8}", text) or int(text) > MAX_SIZE:
            raise ValueError(f"has {name}={clean(text)[:40]} in [{self.kind}]")
        return int(text)

    def layers(self, name: str, at: int) -> list[int]:
        """Layers that it refers to, by their number or counted back from its own."""
        parts = [part.strip() for part in self.options.get(name, "").split(",") if part.strip()]
        if not parts or not all(re.fullmatch(r"-?\d{1,6}", part) for part in parts):
            raise ValueError(f"has no {name} in [{self.kind}]")
        found = [at + int(part) if part.startswith("-") else int(part) for part in parts]
        if not all(0 <= k < at for k in found):
            raise ValueError(f"has [{self.kind}] of a layer that does not come before it")
        return found


def read_darknet(file: File) -> Checkpoint:
    """The checkpoint in a .weights file and the .cfg beside it; reads no weights. Raises
    InputError."""
    cfg = _cfg_of(file)
    offset, transposed = _header(file)
    tensors: dict[str, Tensor] = {}
    try:
        for name, shape in _shapes(_sections(cfg)):
            file.work.spend(STEP + len(name))
            nbytes = math.prod(shape) * _FLOAT.itemsize
            if offset + nbytes > file.size:
                raise ValueError("describes more weights than there are")
            strides = (1, shape[0]) if transposed and name.endswith("connected.weights") else None
            window = Window(file, offset, nbytes)
            tensors[name] = lay_out(name, window, _FLOAT, shape, strides)
            offset += nbytes
        if offset != file.size:
            raise ValueError(f"describes {offset} bytes of its {file.size}")
    except ValueError as error:
        raise file.fault(f"Darknet weights whose {clean(cfg.path.name)} {error}") from None
    return Checkpoint(file.path.stem, file.path, "darknet", tensors, files=(file, cfg))


def _cfg_of(file: File) -> File:
    """The description: called like the weights, else like their beginning (yolo.cfg of
    yolo_final.weights), else the only one."""
    folder, stem = file.path.parent, file.path.stem
    try:
        with os.scandir(folder) as entries:
            described = [x.name for x in entries if x.name.lower().endswith(".cfg")]
    except OSError:
        described = []
    beside = sorted(name[: -len(".cfg")] for name in described)
    alike = [name for name in beside if stem.lower().startswith(name.lower())]
    chosen = max(alike, key=len) if alike else beside[0] if len(beside) == 1 else ""
    if not chosen:
        raise file.fault(f"Darknet weights are read with their {clean(stem)}.cfg beside them")
    return File(folder / next(name for name in described if name[: -len(".cfg")] == chosen))


def _header(file: File) -> tuple[int, bool]:
    """Where weights start, and whether matrices lie the other way round, by the version."""
    major, minor = (int.from_bytes(file.read(4 * k, 4), "little") for k in range(2))
    long = major * 10 + minor >= 2 and max(major, minor) < 1000  # the number of images seen
    start = 20 if long else 16
    if start > file.size:
        raise file.fault("Darknet weights without any")
    return start, max(major, minor) > 1000


def _sections(cfg: File) -> list[_Section]:
    if cfg.size > MAX_CFG:
        raise ValueError(f"has {cfg.size} bytes; {MAX_CFG} are the most")
    found: list[_Section] = []
    for line in cfg.read(0, cfg.size).decode("utf-8", "replace").splitlines():
        text = re.sub(r"\s", "", line)
        if text.startswith("["):
            kind = text.strip("[]").lower()
            found.append(_Section(_NAMES.get(kind, clean(kind)[:40])))
        elif "=" in text and text[0] not in "#;" and found:
            name, value = text.split("=", 1)
            found[-1].options.setdefault(name, re.split("[#;]", value, maxsplit=1)[0])
    if not found or found[0].kind not in ("net", "network"):
        raise ValueError("does not begin with [net]")
    return found


def _shapes(sections: list[_Section]) -> Own:
    """The tensors of all layers in the order of the file, with their shapes."""
    net, *layers = sections
    size = net.number("channels", 3), net.number("height", 0), net.number("width", 0)
    sizes: list[Size] = []
    found: Own = []
    for k, section in enumerate(layers):
        if section.kind in _LAYERS:
            own, size = _LAYERS[section.kind](section, size, sizes)
            found += [(f"{k}.{section.kind}.{name}", shape) for name, shape in own]
        elif section.kind not in _PLAIN:
            raise ValueError(f"has a layer [{section.kind}], which is not read")
        else:
            size = _pooled(section, size)
        if max(size) > MAX_SIZE:  # numbers of any length, and of each layer one
            raise ValueError(f"has a layer [{section.kind}] of more than {MAX_SIZE} a side")
        sizes.append(size)
    return found


def _convolutional(section: _Section, size: Size, _: list[Size]) -> tuple[Own, Size]:
    channels, height, width = size
    many, side = section.number("filters", 1), section.number("size", 1)
    groups = section.number("groups", 1) or 1
    stride = section.number("stride", 1) or 1
    padding = side // 2 if section.number("pad", 0) else section.number("padding", 0)
    height, width = ((n + 2 * padding - side) // stride + 1 for n in (height, width))
    after = many, height, width
    if section.number("flipped", 0):
        raise ValueError("has flipped=1 in [convolutional], which is not read")
    if "share_index" in section.options:  # the weights of another layer
        return [], after
    own: Own = [("biases", (many,))]
    if section.number("batch_normalize", 0):
        own += [(name, (many,)) for name in ("scales", "rolling_mean", "rolling_variance")]
    return [*own, ("weights", (many, channels // groups, side, side))], after


def _connected(section: _Section, size: Size, _: list[Size]) -> tuple[Own, Size]:
    many = section.number("output", 1)
    own: Own = [("biases", (many,)), ("weights", (many, math.prod(size)))]
    if section.number("batch_normalize", 0):
        own += [(name, (many,)) for name in ("scales", "rolling_mean", "rolling_variance")]
    return own, (many, 1, 1)


def _route(section: _Section, size: Size, before: list[Size]) -> tuple[Own, Size]:
    taken = [before[k] for k in section.layers("layers", len(before))]
    groups = section.number("groups", 1) or 1
    _, height, width = taken[0]
    return [], (sum(c // groups for c, _, _ in taken), height, width)


def _shortcut(section: _Section, size: Size, before: list[Size]) -> tuple[Own, Size]:
    """Adds layers, with a weight for each, or for each and channel, where it says so."""
    kind = section.options.get("weights_type", "none")
    many = 1 + len(section.layers("from", len(before)))
    if kind == "none":
        return [], size
    each = {"per_feature": (), "per_layer": (), "per_channel": (size[0],)}.get(kind)
    if each is None:
        raise ValueError(f"has weights_type={clean(kind)[:40]}, which is not read")
    return [("weights", (many, *each))], size


def _taken(section: _Section, size: Size, before: list[Size]) -> tuple[Own, Size]:
    return [], before[section.layers("from", len(before))[0]]


def _reorganized(section: _Section, size: Size, _: list[Size]) -> tuple[Own, Size]:
    stride = section.number("stride", 1) or 1
    return [], (size[0] * stride**2, size[1] // stride, size[2] // stride)


def _upsampled(section: _Section, size: Size, _: list[Size]) -> tuple[Own, Size]:
    stride = section.number("stride", 2)
    return [], (size[0], size[1] * stride, size[2] * stride)


_LAYERS: dict[str, Callable[[_Section, Size, list[Size]], tuple[Own, Size]]] = {
    "convolutional": _convolutional,
    "connected": _connected,
    "route": _route,
    "shortcut": _shortcut,
    "scale_channels": _taken,
    "sam": _taken,
    "reorg": _reorganized,
    "reorg3d": _reorganized,
    "upsample": _upsampled,
}


def _pooled(section: _Section, size: Size) -> Size:
    channels, height, width = size
    if section.kind == "avgpool":
        return channels, 1, 1
    if section.kind != "maxpool":
        return size
    stride = section.number("stride", 1) or 1
    side = section.number("size", stride)
    padding = section.number("padding", max(side - 1, 0))
    height, width = ((n + padding - side) // stride + 1 for n in (height, width))
    return channels, height, width
