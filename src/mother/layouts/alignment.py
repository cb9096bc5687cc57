"""Which checkpoints can be compared, and which of their tensors pair up.

Two tensors pair up when they have the same canonical name and shape. The canonical name is the
stored one without the prefix that one program puts before the names and another does not
("module.", "vit.", "base_model.model."). No list of prefixes: for two sets of names, those
prefixes are stripped that make the most parameters pair up.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mother.checkpoints.factors import is_adapter_alone
from mother.checkpoints.tensor import Checkpoint, Tensor, constant

Shape = tuple[int, ...]
#: name and shape: what two tensors must share
Key = tuple[str, Shape]
#: leading components of a name, each with its separator: ("module.", "vit.")
Prefix = tuple[str, ...]

MAX_PREFIX = 4
#: a prefix worth trying stands before this share of the parameters
_MIN_COVER = 0.25
#: signatures that one is tested against for each of its heavy keys, in all and of one component
_MAX_CANDIDATES, _MAX_ALIKE = 256, 4
#: the last components of vectors' names in TensorFlow and in PyTorch's early ports of it
_OLDER = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_COMPONENT = re.compile(r"[^./]*[./]|[^./]+$")


@dataclass(frozen=True)
class Layer:
    """One weight tensor across checkpoints; `members` are indices into the group, ascending.

    `shape` is that of the whole tensor. `tensors` are of that shape, or, where checkpoints are
    sketches, samples at the same positions of it.
    """

    name: str
    shape: Shape
    members: tuple[int, ...]
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Elements in one of the tensors."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Group:
    """Checkpoints that can be compared, with the layers in which they can be.

    `unaligned` names, for each checkpoint, the weight tensors that found no partner and why;
    `architecture` is, for each checkpoint, 12 hex digits over its canonical names and shapes.
    """

    checkpoints: tuple[Checkpoint, ...]
    layers: tuple[Layer, ...]
    unaligned: tuple[tuple[str, ...], ...]
    architecture: tuple[str, ...]

    def over(self, chosen: Iterable[bool]) -> Group:
        """The same group, with some of its layers."""
        layers = tuple(layer for layer, ok in zip(self.layers, chosen, strict=True) if ok)
        return Group(self.checkpoints, layers, self.unaligned, self.architecture)

    def among(self, models: Sequence[int]) -> Group:
        """The same group, with some of its checkpoints, each of them once."""
        place = {model: k for k, model in enumerate(models)}

        def of(layer: Layer) -> Layer:
            if len(layer.members) == len(self.checkpoints):  # at a cost of those alone
                tensors = tuple(layer.tensors[m] for m in models)
                return Layer(layer.name, layer.shape, tuple(range(len(models))), tensors)
            held = zip(layer.members, layer.tensors, strict=True)
            kept = sorted(((place[m], t) for m, t in held if m in place), key=lambda pair: pair[0])
            members = tuple(k for k, _ in kept)
            return Layer(layer.name, layer.shape, members, tuple(t for _, t in kept))

        return Group(
            tuple(self.checkpoints[m] for m in models),
            tuple(of(layer) for layer in self.layers),
            tuple(self.unaligned[m] for m in models),
            tuple(self.architecture[m] for m in models),
        )


def align(checkpoints: Sequence[Checkpoint]) -> list[Group]:
    """Groups of comparable checkpoints, in the order of their first members.

    Two checkpoints are comparable when the tensors that pair up hold at least half of the
    smaller one's parameters; a group is all that is connected by such pairs. Only weight tensors
    with elements count. A layer has two members or more, unless the group has one alone. Adapters,
    which may hold a whole head beside their factors, are compared with adapters alone.

    >>> import numpy as np
    >>> from mother.checkpoints.tensor import constant
    >>> def model(id, **weights):
    ...     tensors = {n: constant(n, np.ones(s, np.float32)) for n, s in weights.items()}
    ...     return Checkpoint(id, Path(id), "npz", tensors)
    >>> from pathlib import Path
    >>> a = model("a", **{"fc.weight": (8, 8), "head.weight": (2, 8)})
    >>> b = model("b", **{"module.fc.weight": (8, 8), "module.head.weight": (3, 8)})
    >>> (group,) = align([a, b])
    >>> [(layer.name, layer.members) for layer in group.layers]
    [('fc.weight', (0, 1))]
    >>> group.unaligned
    (('head.weight: of shape (2, 8) here, (3, 8) elsewhere',),
     ('head.weight: of shape (3, 8) here, (2, 8) elsewhere',))
    """
    alone = [is_adapter_alone(c) for c in checkpoints]
    if any(alone) and not all(alone):
        place = {id(c): k for k, c in enumerate(checkpoints)}
        parts = [
            [c for c, is_one in zip(checkpoints, alone, strict=True) if is_one == side]
            for side in (False, True)
        ]
        groups = [group for part in parts for group in align(part)]
        return sorted(groups, key=lambda group: place[id(group.checkpoints[0])])
    signatures: dict[tuple[Key, ...], _Signature] = {}
    own: list[_Signature] = []
    for checkpoint in checkpoints:
        keys = tuple(
            sorted((n, t.shape) for n, t in checkpoint.tensors.items() if t.is_weight and t.size)
        )
        if keys not in signatures:
            sizes = {k: checkpoint.tensors[k[0]].size for k in keys}
            signatures[keys] = _Signature(len(signatures), sizes)
        own.append(signatures[keys])
    component = _connect(list(signatures.values()))
    names = [signature.canonical() for signature in signatures.values()]
    members: dict[int, list[int]] = defaultdict(list)
    for index, signature in enumerate(own):
        members[component[signature.index]].append(index)
    return [
        _group([checkpoints[i] for i in indices], [names[own[i].index] for i in indices])
        for indices in members.values()
    ]


class _Signature:
    """The weight tensors' names and shapes that a set of checkpoints shares."""

    def __init__(self, index: int, sizes: dict[Key, int]) -> None:
        self.index = index
        self.sizes = sizes
        self.parameters = sum(sizes.values())
        self.strip: Prefix = ()
        #: parameters by shape and the last component of names, which no prefix changes
        self.ends: dict[Key, int] = defaultdict(int)
        for (name, shape), size in sizes.items():
            self.ends[_COMPONENT.findall(name)[-1], shape] += size
        self._stripped: dict[Prefix, dict[Key, int]] = {}
        self._prefixes: list[Prefix] | None = None

    def canonical(self) -> dict[str, str]:
        """Canonical name of each stored name."""
        names = _stripped_names([name for name, _ in self.sizes], self.strip)
        vectors = {name for name, shape in self.sizes if len(shape) == 1}
        taken = set(names.values())
        for stored in sorted(vectors & names.keys()):
            modern = _modern(names[stored])
            if modern not in taken:
                names[stored] = modern
                taken.add(modern)
        return names

    def stripped(self, prefix: Prefix) -> dict[Key, int]:
        """Parameters by name and shape, the names without the prefix."""
        if prefix not in self._stripped:
            names = _stripped_names([name for name, _ in self.sizes], prefix)
            self._stripped[prefix] = {(names[n], s): size for (n, s), size in self.sizes.items()}
        return self._stripped[prefix]

    def prefixes(self) -> list[Prefix]:
        """Prefixes that stand before a good part of the parameters, the empty one first."""
        if self._prefixes is None:
            cover: dict[Prefix, int] = defaultdict(int)
            for (name, _), size in self.sizes.items():
                components = _COMPONENT.findall(name)
                for depth in range(1, min(MAX_PREFIX, len(components) - 1) + 1):
                    cover[tuple(components[:depth])] += size
            least = _MIN_COVER * self.parameters
            found = [prefix for prefix, size in cover.items() if size >= least]
            self._prefixes = [(), *sorted(found, key=lambda prefix: (len(prefix), prefix))]
        return self._prefixes

    def heavy(self) -> Iterator[Key]:
        """The largest tensors that together hold more than half of the parameters.

        Whatever shares half of the parameters with this signature shares one of them.
        """
        total = 0
        for key, size in sorted(self.sizes.items(), key=lambda item: (-item[1], item[0])):
            yield key
            total += size
            if 2 * total > self.parameters:
                return


def _modern(name: str) -> str:
    """A vector's name as PyTorch has it, where TensorFlow's or an older one is known.

    >>> _modern("encoder.LayerNorm.gamma"), _modern("bn/moving_mean"), _modern("fc.bias")
    ('encoder.LayerNorm.weight', 'bn/running_mean', 'fc.bias')
    """
    last = _COMPONENT.findall(name)[-1] if name else ""
    return name[: len(name) - len(last)] + _OLDER.get(last, last)


def _stripped_names(names: Iterable[str], prefix: Prefix) -> dict[str, str]:
    """Each name without the components of the prefix that it starts with, all names distinct.

    >>> _stripped_names(["vit.encoder.w", "classifier.w"], ("vit.",))
    {'classifier.w': 'classifier.w', 'vit.encoder.w': 'encoder.w'}
    """
    taken: set[str] = set()
    out: dict[str, str] = {}
    # the shorter name first: it has the older claim to what a longer one would be stripped to
    for name in sorted(names, key=lambda name: (len(name), name)):
        short = name
        for component in prefix:
            if not short.startswith(component) or short == component:
                break
            short = short[len(component) :]
        if short in taken:
            short = name
        taken.add(short)
        out[name] = short
    return out


def _shared(a: dict[Key, int], b: dict[Key, int]) -> int:
    return sum(a[key] for key in a.keys() & b.keys())


def _best_prefixes(a: _Signature, b: _Signature) -> tuple[Prefix, Prefix] | None:
    """The prefixes to strip so that most parameters pair up; None if those are under half."""
    smaller = min(a.parameters, b.parameters)
    most = sum(min(a.ends[key], b.ends[key]) for key in a.ends.keys() & b.ends.keys())
    if 2 * most < smaller:
        return None
    best = _shared(a.sizes, b.sizes)
    choice: tuple[Prefix, Prefix] = ((), ())
    if best < smaller:
        options = [(p, q) for p in a.prefixes() for q in b.prefixes() if p != q]
        for p, q in sorted(options, key=lambda o: (len(o[0]) + len(o[1]), o)):
            shared = _shared(a.stripped(p), b.stripped(q))
            if shared > best:
                best, choice = shared, (p, q)
    return choice if 2 * best >= smaller and best > 0 else None


def _connect(signatures: list[_Signature]) -> list[int]:
    """Component of each signature; sets what each must strip."""
    component = list(range(len(signatures)))
    inside: dict[int, list[_Signature]] = {s.index: [s] for s in signatures}
    buckets: dict[Key, _Bucket] = defaultdict(_Bucket)
    # from the largest on: the smaller of two looks its heavy keys up among all of the larger's
    for signature in sorted(signatures, key=lambda s: (-s.parameters, s.index)):
        for other in _candidates(signature, buckets):
            one, two = component[signature.index], component[other.index]
            if one == two or not (choice := _best_prefixes(other, signature)):
                continue
            _join(inside[two], inside[one], other, signature, *choice)
            for each in inside[one]:
                component[each.index] = two
            inside[two] += inside.pop(one)
        for name, shape in signature.sizes:
            for tail in _tails(name):
                buckets[tail, shape].add(signature, component[signature.index])
    return component


class _Bucket:
    """Signatures that share a key; a few of each component stand for the rest of it."""

    def __init__(self) -> None:
        self.signatures: dict[_Signature, None] = {}
        self._alike: dict[int, int] = defaultdict(int)

    def add(self, signature: _Signature, component: int) -> None:
        if signature in self.signatures or len(self.signatures) >= _MAX_CANDIDATES:
            return
        if self._alike[component] < _MAX_ALIKE:
            self._alike[component] += 1
            self.signatures[signature] = None


def _tails(name: str) -> list[str]:
    """The ends of a name that its partner's name, with another prefix, ends in as well.

    >>> _tails("module.layer.0.weight"), _tails("fc/weight")
    (['0.weight'], ['fc.weight', 'weight'])
    """
    components = _COMPONENT.findall(name.replace("/", "."))
    # two components are the more telling, but of a short name only one may be left
    ends = ["".join(components[-2:])]
    return ends + components[-1:] if len(components) == 2 else ends


def _candidates(signature: _Signature, buckets: dict[Key, _Bucket]) -> dict[_Signature, None]:
    keys = [(tail, shape) for name, shape in signature.heavy() for tail in _tails(name)]
    found: dict[_Signature, None] = {}
    for key in dict.fromkeys(keys):
        if key in buckets:
            found |= buckets[key].signatures
    return found


def _join(
    left: list[_Signature],
    right: list[_Signature],
    a: _Signature,
    b: _Signature,
    p: Prefix,
    q: Prefix,
) -> None:
    """Make two components strip alike, given that a without p pairs with b without q.

    What a and b strip must become p + t and q + t for one t, and whatever is added to one's
    prefix is added to those of its whole component.
    """
    s, t = _beyond(left, a, p), _beyond(right, b, q)
    if t[: len(s)] == s:
        _strip_more(left, t[len(s) :])
    elif s[: len(t)] == t:
        _strip_more(right, s[len(t) :])


def _beyond(component: list[_Signature], signature: _Signature, prefix: Prefix) -> Prefix:
    """What the signature strips after the prefix, which it is made to strip first."""
    held = signature.strip
    if prefix[: len(held)] == held:
        _strip_more(component, prefix[len(held) :])
        return ()
    return held[len(prefix) :] if held[: len(prefix)] == prefix else ()


def _strip_more(component: list[_Signature], prefix: Prefix) -> None:
    for signature in component:
        signature.strip += prefix


def _group(checkpoints: list[Checkpoint], names: list[dict[str, str]]) -> Group:
    rows: dict[Key, list[tuple[int, Tensor]]] = defaultdict(list)
    unseen: set[Key] = set()  # a sketch holds nothing of them, which does not say that they differ
    for index, (checkpoint, canonical) in enumerate(zip(checkpoints, names, strict=True)):
        for stored, name in canonical.items():
            tensor = checkpoint.tensors[stored]
            rows[name, tensor.shape].append((index, tensor))
            if not tensor.kept.size:
                unseen.add((name, tensor.shape))
    rows = {key: row for key, row in rows.items() if key not in unseen}
    least = min(2, len(checkpoints))
    layers = tuple(
        Layer(name, shape, tuple(i for i, _ in row), common_part([t.kept for _, t in row]))
        for (name, shape), row in sorted(rows.items(), key=lambda item: item[0])
        if len(row) >= least
    )
    return Group(
        tuple(checkpoints),
        layers,
        _unaligned(len(checkpoints), {k: row for k, row in rows.items() if len(row) < least}, rows),
        _digests(checkpoints, names),
    )


def common_part(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors, or where samples differ in size, the corner (rows, columns) that all have."""
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) == 1:
        return tuple(tensors)
    corner = tuple(min(sides) for sides in zip(*shapes, strict=True))
    cut = tuple(slice(side) for side in corner)
    held = (constant(t.name, t.read().reshape(t.shape)[cut]) for t in tensors)
    return tuple(
        replace(part, scheme=t.scheme, cell=t.cell) for part, t in zip(held, tensors, strict=True)
    )


def _unaligned(
    count: int,
    alone: dict[Key, list[tuple[int, Tensor]]],
    rows: dict[Key, list[tuple[int, Tensor]]],
) -> tuple[tuple[str, ...], ...]:
    shapes: dict[str, set[Shape]] = defaultdict(set)
    for name, shape in rows:
        shapes[name].add(shape)
    lines: list[list[str]] = [[] for _ in range(count)]
    for (name, shape), row in sorted(alone.items(), key=lambda item: item[0]):
        others = ", ".join(str(s) for s in sorted(shapes[name] - {shape})[:3])
        why = f"of shape {shape} here, {others} elsewhere" if others else "in no other checkpoint"
        for index, _ in row:
            lines[index].append(f"{name}: {why}")
    return tuple(map(tuple, lines))


def _digests(checkpoints: list[Checkpoint], names: list[dict[str, str]]) -> tuple[str, ...]:
    # checkpoints of one signature share their dict of names
    known: dict[int, str] = {}
    for checkpoint, canonical in zip(checkpoints, names, strict=True):
        if id(canonical) not in known:
            rows = sorted((n, checkpoint.tensors[stored].shape) for stored, n in canonical.items())
            known[id(canonical)] = hashlib.sha256(repr(rows).encode()).hexdigest()[:12]
    return tuple(known[id(canonical)] for canonical in names)
