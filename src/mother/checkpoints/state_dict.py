"""Which of the tensors in a training script's pickle are the model's, and what they are called."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from mother.checkpoints.pickled_objects import (
    DISTRIBUTED,
    REBUILT,
    Opaque,
    QuantizedView,
    Storage,
    StridedView,
    Wrapped,
)
from mother.checkpoints.tensor import clean
from mother.checkpoints.work import TENSOR, Work

#: where scripts put the weights; the first that holds tensors is taken
WELL_KNOWN = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "net_state_dict",
    "weights",
    "params_ema",
    "params",
    "parameters",
    "ema_state_dict",
    "model_ema",
    "g_ema",
    "ema",
)
#: what a GAN's training script keeps beside the averaged generator, "g_ema"
_OF_A_GAN = ("g", "d")
#: what PyTorch's wrappers put into names, wherever a module is wrapped or quantized
_WRAPPERS = re.compile(
    r"(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod|_packed_params)\."
)
#: where torch.ao's modules keep weight and bias
_PACKED = "_packed_params"
_TRAINING = re.compile(r"(.*_)?(optim|sched|scaler|rng|amp$|callbacks|loops)", re.I)
#: a torch module keeps its tensors and submodules in these; they are no part of any name
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
MAX_DEPTH = 64
#: a long key above many tensors would be repeated in each of their names
MAX_NAME = 2000


View = StridedView | QuantizedView


def pick_tensors(
    root: Any, unread: dict[str, int] | None = None, work: Work | None = None
) -> tuple[dict[str, View], list[str]]:
    """The model's tensors by dotted name, and notes on what was chosen and left out. unread: gets
    the tensors that are of no strided layout, each with the elements that its parts hold. work: of
    the file, which pays for the tensors and their names.

    Raises ValueError, in one line, where a name is too long.

    >>> from mother.checkpoints.pickled_objects import Storage
    >>> w = StridedView(Storage("FloatStorage", "0", 4), 0, (4,), (1,))
    >>> tensors, notes = pick_tensors({"model": {"fc.weight": w}, "optimizer": {"m": w}})
    >>> list(tensors), notes
    (['fc.weight'], ["read from 'model'", "left out 'optimizer'"])
    """
    notes: list[str] = []
    path: list[str] = []
    sizes = _Sizes()
    while len(path) < MAX_DEPTH and (key := _well_known(root, sizes)) is not None:
        path.append(key)
        children = dict(_children(root))
        others = [k for k, child in children.items() if k != key and sizes.of(child)]
        notes += [f"left out {clean(k[:MAX_NAME])!r}" for k in others]
        root = children[key]
    if path:
        notes.insert(0, f"read from {'.'.join(path)!r}")
    tensors: dict[str, View] = {}
    left = {} if unread is None else unread
    name = "tensor" if isinstance(root, View) else ""
    work = Work(0) if work is None else work
    _Flattened(tensors, notes, left, sizes, work).add(root, name, 0)
    return tensors, notes


class _Sizes:
    """Tensor elements below each container, counted once."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def of(self, value: Any, depth: int = 0) -> int:
        if isinstance(value, View):
            count = 1
            for size in value.shape:
                count = min(count * size, 1 << 62)
            return count
        if isinstance(value, Storage):
            return max(0, min(value.count, 1 << 62))
        if isinstance(value, Wrapped) and value.whole:
            return min(math.prod(value.whole), 1 << 62)
        if id(value) not in self._known:
            # stands while the container is being counted: a cycle adds nothing
            self._known[id(value)] = 0
            if depth < MAX_DEPTH:
                total = sum(self.of(child, depth + 1) for _, child in _children(value))
                self._known[id(value)] = total
        return self._known[id(value)]


def _well_known(root: Any, sizes: _Sizes) -> str | None:
    """The key to go down by: it holds at least half of what is not known to be something else."""
    if not isinstance(root, dict):
        return None
    gan = _OF_A_GAN if sizes.of(root.get("g_ema")) else ()
    held = {
        key: sizes.of(value)
        for key, value in root.items()
        if not is_training(key) and key not in gan
    }
    others = sum(count for key, count in held.items() if key not in WELL_KNOWN)
    for key in WELL_KNOWN:
        if held.get(key, 0) and held[key] >= others and not _is_leaf(root[key]):
            return key
    return None


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, dict | list | tuple | Opaque | Wrapped)


def is_training(key: Any) -> bool:
    """Whether what lies under a key is the state of a training run, by the key."""
    # with a dot it is a parameter's name
    short = isinstance(key, str) and len(key) <= MAX_NAME
    return short and "." not in key and _TRAINING.match(key) is not None


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container holds, by name; the parts of a module count as held by the module."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield named(key), child
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield str(index), child
    elif isinstance(value, Opaque):
        for key, child in value.state.items():
            if key in _MODULE_PARTS and isinstance(child, dict):
                yield from _children(child)
            elif key not in _MODULE_PARTS:
                yield named(key), child
        yield from _children(value.items)
    elif isinstance(value, Wrapped):
        for key, child in value.parts.items():
            yield named(key), child


def _is_foreign(value: Any) -> TypeGuard[Opaque | Wrapped]:
    """Whether it is a tensor of no layout that is read."""
    if isinstance(value, Wrapped):
        return not value.symbol.startswith("torchao")
    return isinstance(value, Opaque) and value.symbol.startswith(REBUILT)


def _unread(value: Opaque | Wrapped) -> str:
    """Why a tensor is not read, and what to do."""
    if value.symbol.endswith(DISTRIBUTED):
        return "one device's part of a DTensor is not read; save it whole, by full_tensor()"
    return f"{clean(value.symbol.split('_rebuild_')[-1].split(' ')[-1])} is not read"


def _parts(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What a container of that name holds, by name; weight and bias of torch.ao's modules are told
    by their order."""
    packed = name.endswith(_PACKED)
    after = False
    for key, child in _children(value):
        matrix = isinstance(child, StridedView) and len(child.shape) > 1
        if key.isdigit() and (isinstance(child, QuantizedView) or (packed and matrix)):
            after = True
            yield "weight", child
        elif after and key.isdigit() and isinstance(child, StridedView):
            after = False
            yield "bias", child
        else:
            yield key, child


def named(key: Any) -> str:
    """What a container's key is called."""
    # no more of bytes than is too long already
    return (
        key
        if isinstance(key, str)
        else repr(key[: MAX_NAME + 1] if isinstance(key, bytes) else key)
    )


@dataclass
class _Flattened:
    """What was found below the root: tensors by name, notes, and tensors that are not read."""

    tensors: dict[str, View]
    notes: list[str]
    unread: dict[str, int]
    sizes: _Sizes
    work: Work
    #: containers; one that is reached twice is listed once: shared ones could multiply without end
    seen: set[int] = field(default_factory=set)

    def add(self, value: Any, name: str, depth: int) -> None:
        """Add what lies at and below a value."""
        if isinstance(value, View):
            self.work.spend(TENSOR + len(name))
            if name in self.tensors:
                self.notes.append(f"skipped a second tensor called {name!r}")
            else:
                self.tensors[name] = value
        elif _is_foreign(value):
            self.work.spend(TENSOR + len(name))
            self.unread[name] = self.sizes.of(value)
            self.notes.append(f"skipped {name!r}: {_unread(value)}")
        elif not _is_leaf(value) and id(value) not in self.seen and depth <= MAX_DEPTH:
            self.seen.add(id(value))
            for key, child in _parts(value, name):
                self._child(key, child, name, depth, isinstance(value, Wrapped))

    def _child(self, key: str, child: Any, name: str, depth: int, wrapped: bool) -> None:
        if len(name) + len(key) > MAX_NAME:
            raise ValueError(f"has a tensor name of more than {MAX_NAME} characters")
        inner = key.isdigit() and name.endswith(_PACKED)
        label = name if inner else _WRAPPERS.sub("", clean(f"{name}.{key}" if name else key))
        if wrapped:  # as torchao calls them in safetensors files
            of, dot, last = name.rpartition(".")
            label = clean(f"{of}{dot}_{last}_{key}")
        if is_training(key) and not _is_leaf(child):
            self.notes.append(f"left out {label!r}")
        else:
            self.add(child, label, depth + 1)
