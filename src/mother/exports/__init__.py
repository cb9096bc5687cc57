"""A model graph in the formats of other tools, one file a format.

Every name is spelled by `mother.names.spelled`, so that it can't break or script what it is put
into, and can be told from every other. An edge whose direction is unknown, and a copy of the same
weights, make nobody an ancestor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mother.exports import csv, cyclonedx, dot, graphml, intoto, modelcards, newick, spdx


@dataclass(frozen=True)
class Format:
    """A format: what reads it, its writer, and what each of its files starts with.

    folder: it is several files, text by name. bill: a bill of materials, whose writer also takes
    `created`, an ISO 8601 time, and `checked`, what mother check found.
    """

    says: str
    write: Callable[..., str | dict[str, str]]
    starts: tuple[str, ...]
    folder: bool = False
    bill: bool = False


FORMATS = {
    "graphml": Format("networkx, Gephi, yEd, Cytoscape", graphml.write, ("<?xml",)),
    "dot": Format("Graphviz", dot.write, ("digraph",)),
    "newick": Format("phylogenetics: DendroPy, Biopython, FigTree", newick.write, ("[&R]",)),
    "csv": Format("spreadsheets, pandas, Gephi: a folder", csv.write, csv.STARTS, folder=True),
    "cyclonedx": Format("CycloneDX 1.6, ML-BOM", cyclonedx.write, ("{",), bill=True),
    "spdx": Format("SPDX 3.0.1, AI packages, JSON-LD", spdx.write, ("{",), bill=True),
    "modelcards": Format(
        "Hugging Face: front matter for each README.md, a folder",
        modelcards.write,
        (modelcards.START,),
        folder=True,
    ),
    "intoto": Format("in-toto Statement v1, canonical, to be signed", intoto.write, ("{",)),
}
