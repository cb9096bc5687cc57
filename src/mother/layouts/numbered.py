"""Layers whose names differ by a running number alone.

Keras names a layer that was given no name after its class, and the layers of a class in the order
in which a session makes them: dense, dense_1, dense_2. The same network made again later in the
session has dense_3, dense_4, dense_5. A layer may lie within others that are numbered, too.
Source: `tf.keras.backend.get_uid` (Keras 2), `keras.src.utils.naming.auto_name` (Keras 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile

from mother.layouts.prefixes import Key, Shape

_DIGITS = 9  # of a running number at most
#: the path of a layer, and the shape of each of its tensors by the last component of their names
_Layer = tuple[str, dict[str, Shape]]


def under_one_numbering(models: Sequence[Sequence[Key]]) -> list[dict[str, str]]:
    """The names under which the tensors of each model are looked for in others, by stored name.

    The layers of one class have the names of the first model with as many of that class, of the
    same shapes in the same order, of which the last, the head, may be of another. Names stay where
    those of the two models pair up as they are: some are the same, and none is of two shapes.

    >>> one = [("dense_12/w", (4, 9)), ("dense_13/w", (9, 3))]
    >>> two = [("dense_9/w", (4, 9)), ("dense_10/w", (9, 3))]
    >>> under_one_numbering([one, two])[1]
    {'dense_9/w': 'dense_12/w', 'dense_10/w': 'dense_13/w'}
    """
    first: dict[object, list[_Layer]] = {}
    out = []
    for keys in models:
        start = _common_start([name for name, _ in keys])
        names = {name: name for name, _ in keys}
        for kind, layers in _classes(keys, len(start)).items():
            body = layers[: max(1, len(layers) - 1)]
            shapes = tuple(tuple(sorted(held.items())) for _, held in body)
            others = first.setdefault((kind, len(layers), shapes), layers)
            if not _pair_up(layers, others):
                for (path, held), (name, _) in zip(layers, others, strict=True):
                    names |= {f"{start}{path}/{x}": f"{start}{name}/{x}" for x in held}
        out.append(names)
    return out


def _pair_up(layers: Sequence[_Layer], others: Sequence[_Layer]) -> bool:
    held = dict(others)
    common = [shapes == held[path] for path, shapes in layers if path in held]
    return bool(common) and all(common)


def _common_start(names: Sequence[str]) -> str:
    """The leading components that all names have.

    >>> _common_start(["model_weights/dense_1/w", "model_weights/dense_2/w"])
    'model_weights/'
    """
    first, last = min(names, default=""), max(names, default="")
    pairs = zip(first, last, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return first[: first.rfind("/", 0, same) + 1]


def _classes(keys: Iterable[Key], start: int) -> dict[str, list[_Layer]]:
    """The layers by the path without numbers, each class in the order of its numbers."""
    layers: dict[str, dict[str, Shape]] = defaultdict(dict)
    for name, shape in keys:
        path, separator, last = name[start:].rpartition("/")
        if separator:
            layers[path][last] = shape
    classes: dict[str, list[tuple[tuple[tuple[int, ...], ...], _Layer]]] = defaultdict(list)
    for path, held in layers.items():
        parts = [_counted(part) for part in path.split("/")]
        numbers = tuple(numbers for _, numbers in parts)
        classes["/".join(name for name, _ in parts)].append((numbers, (path, held)))
    return {
        kind: [layer for _, layer in sorted(some, key=lambda x: (x[0], x[1][0]))]
        for kind, some in classes.items()
    }


def _counted(part: str) -> tuple[str, tuple[int, ...]]:
    """A component of a path without the running numbers behind it, and these.

    >>> _counted("batch_normalization_4"), _counted("dense_1_7"), _counted("block2_conv1")
    (('batch_normalization', (4,)), ('dense', (1, 7)), ('block2_conv1', ()))
    """
    words = part.split("_")
    end = len(words)
    while end > 1 and words[end - 1].isascii() and words[end - 1].isdecimal():
        if len(words[end - 1]) > _DIGITS:
            break
        end -= 1
    return "_".join(words[:end]), tuple(map(int, words[end:]))
