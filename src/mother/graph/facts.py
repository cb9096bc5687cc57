"""What is known of a model's files, in words: how large, whether they are there twice, and how much
of them was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Node
from mother.names import counted, printable

#: what copies are whose bytes are others, by relation
_COPIES = {
    "duplicate": "of the same weights",
    "converted": "converted",
    "quantized": "quantized",
    "pruned": "pruned",
    "edited": "edited",
}
AS_GOOD_AS_WHOLE = 0.995  # share of a model's weights from which it was compared as good as whole


def count(n: int) -> str:
    """A number of weights for people.

    >>> count(950), count(86_567_656), count(6_738_415_616)
    ('950', '86.6 M', '6.7 G')
    """
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return str(n)


def size(n: int) -> str:
    """A number of bytes for people.

    >>> size(950), size(86_567_656)
    ('950 bytes', '86.6 MB')
    """
    return f"{n} bytes" if n < 1000 else f"{count(n)}B"


def many(n: int, one: str, more: str = "") -> str:
    """A number of things.

    >>> many(1, "tree"), many(2, "tree"), many(0, "copy", "copies")
    ('1 tree', '2 trees', '0 copies')
    """
    return f"{n} {one if n == 1 else more or f'{one}s'}"


def part(share: float) -> str:
    """A share that is less than the whole, and more than nothing: it is never 100 %.

    >>> part(0.0347), part(0.34), part(0.9999)
    ('3.5 %', '34 %', '99 %')
    """
    return f"{100 * share:.2g} %" if share < 0.1 else f"{int(100 * share)} %"


def compared(share: float) -> str:
    """Which share of a model's weights was compared, never all of them where some were not.

    >>> compared(0.8359), compared(0.9999)
    ('83 % of its weights compared', '99 % of its weights compared')
    """
    return f"{int(100 * share)} % of its weights compared"


def of_files(node: Node, name: Callable[[str], str] = printable) -> Iterator[str]:
    """Whether another model holds the very bytes, how much of it was read and compared where it was
    not all, and what was noted when it was read.

    >>> twin = Node("b", "b.npz", "npz", "a1", 10, identical_to="a", freed=49_382_712, read=0.034)
    >>> print(*of_files(twin), sep="; ")
    a holds the same bytes: 49.4 MB can be freed, safe to delete; 3.4 % of its bytes read
    """
    if node.identical_to is not None:
        same, freed = name(node.identical_to), size(node.freed or 0)
        yield f"{same} holds the same bytes: {freed} can be freed, safe to delete"
    if node.read is not None:
        yield f"{part(node.read)} of its bytes read"
    if node.compared is not None and node.compared < AS_GOOD_AS_WHOLE:
        yield compared(node.compared)
    yield from map(name, node.notes)


def copies(graph: ModelGraph) -> Iterator[str]:
    """Which models are there twice, what they take, and which copies are other bytes."""
    doubles = [node for node in graph.nodes if node.duplicate_of is not None]
    equal = [node for node in graph.nodes if node.identical_to is not None]
    equal.sort(key=lambda node: counted(node.id))
    if equal:
        total = size(sum(node.freed or 0 for node in equal))
        there = "1 model is" if len(equal) == 1 else f"{len(equal)} models are"
        yield f"{there} there twice, byte for byte; {total} can be freed, safe to delete:"
        for node in equal:
            names = printable(node.id), printable(node.identical_to or "")
            yield f"    {names[0]}, {size(node.freed or 0)}: {names[1]} holds the same bytes"
    main = graph.main_edges()
    others = Counter(
        _COPIES.get(main[node.id].relation if node.id in main else "", "stored otherwise")
        for node in doubles
        if node.identical_to is None
    )
    if others:
        told = ", ".join(f"{n} {what}" for what, n in sorted(others.items()))
        yield f"{many(sum(others.values()), 'other copy', 'other copies')}, not called safe: {told}"


def read(share: float, of: int) -> str:
    """How much was read of large models, of which windows are read first. of: bytes.

    >>> read(0.0347, 7_207_588_584)
    'read 3.5 % of 7.2 GB: windows of large models first (--exact reads all)'
    """
    return f"read {part(share)} of {size(of)}: windows of large models first (--exact reads all)"
