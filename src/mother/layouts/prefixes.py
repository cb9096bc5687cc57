"""Prefixes of names: what one program puts before them and another does not.

"module.", "vit.", "base_model.model.": no list of them is held. For two sets of names, those
prefixes are stripped that make the most parameters pair up by name and shape.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

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


class Signature:
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


def _best_prefixes(a: Signature, b: Signature) -> tuple[Prefix, Prefix] | None:
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


def connect(signatures: list[Signature]) -> list[int]:
    """Component of each signature; sets what each must strip."""
    component = list(range(len(signatures)))
    inside: dict[int, list[Signature]] = {s.index: [s] for s in signatures}
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
        self.signatures: dict[Signature, None] = {}
        self._alike: dict[int, int] = defaultdict(int)

    def add(self, signature: Signature, component: int) -> None:
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


def _candidates(signature: Signature, buckets: dict[Key, _Bucket]) -> dict[Signature, None]:
    keys = [(tail, shape) for name, shape in signature.heavy() for tail in _tails(name)]
    found: dict[Signature, None] = {}
    for key in dict.fromkeys(keys):
        if key in buckets:
            found |= buckets[key].signatures
    return found


def _join(
    left: list[Signature],
    right: list[Signature],
    a: Signature,
    b: Signature,
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


def _beyond(component: list[Signature], signature: Signature, prefix: Prefix) -> Prefix:
    """What the signature strips after the prefix, which it is made to strip first."""
    held = signature.strip
    if prefix[: len(held)] == held:
        _strip_more(component, prefix[len(held) :])
        return ()
    return held[len(prefix) :] if held[: len(prefix)] == prefix else ()


def _strip_more(component: list[Signature], prefix: Prefix) -> None:
    for signature in component:
        signature.strip += prefix
