"""What the files of a graph's models state, by attribute."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mother.attributes.table import Stated
from mother.checkpoints.folders import is_folder
from mother.checkpoints.statements import Stating, read_statements
from mother.checkpoints.tensor import clean
from mother.graph import ModelGraph
from mother.hub import is_address, shown
from mother.names import printable


def from_files(graph: ModelGraph) -> Stated:
    """What the files at the graph's paths state; paths are from where we are now."""
    paths = [Path(node.path) for node in graph.nodes]
    lying = Counter(path.parent for path in paths if not is_folder(path))
    found: dict[str, dict[int, Stating]] = {}
    faults: list[str] = []
    for place, (node, path) in enumerate(zip(graph.nodes, paths, strict=True)):
        if is_address(node.path):
            faults.append(f"{printable(node.path)}: elsewhere, where files are not read for this")
            continue
        if not path.exists():
            faults.append(f"{printable(node.path)}: no such file or folder")
            continue
        told, problems = read_statements(path, alone=lying[path.parent] <= 1)
        for one in told:
            found.setdefault(one.attribute, {})[place] = one
        faults += [f"{printable(str(p.path))}: {p.fault}" for p in problems]

    def source(attribute: str, place: int) -> str:
        one = found[attribute][place]
        return clean(f"{shown(one.file)}: {one.key}")

    values = {
        name: [told[k].value if k in told else None for k in range(len(paths))]
        for name, told in sorted(found.items())
    }
    return Stated(values, source, faults=faults)
