"""Whoever tells an edge tells the same grade and sentence, and nobody tells a certainty."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from itertools import product

import networkx
import pytest

from mother.cli.diff import lines
from mother.exports import FORMATS
from mother.exports.tags import tags
from mother.gate.verdicts import way
from mother.graph import Edge, ModelGraph, Node, Probabilities, Tree, WeightFile
from mother.graph.comparison import Comparison
from mother.graph.descent import Step
from mother.graph.diff import difference
from mother.graph.grades import GRADES, equal, tally
from mother.graph.placement import in_words, placement
from mother.graph.verdict import STEPS, of_edge
from mother.views.comparing import graded, unsure
from mother.views.comparing import sentence as compared
from mother.views.explanation import explanation
from mother.views.page import view
from mother.views.picture import svg
from mother.views.tables import of_edges
from mother.views.terminal import forest, summary

answers = pytest.importorskip("mother.server.answers")  # reads the graph as the page does


def varied(p: float = 0.97, support: float = 0.98) -> ModelGraph:
    """An edge of every step and of every way of being unsure, each with ends of its own."""
    sure, torn = Probabilities(p, 1 - p, 0.0), Probabilities(0.4, 0.2, 0.4)
    unsure = (
        {"direction_probability": p, "support": support, "probabilities": sure},
        {"direction_probability": 0.7, "support": support},
        {"direction_probability": 0.6, "support": support, "undirected": True},
        {"direction_probability": p, "support": 0.3},
        {"direction_probability": p, "support": 0.95, "probabilities": torn},
        {"runner_up": "p0", "runner_up_ratio": 1.02, "direction_probability": p},
        {"scheme": "Q4_K_M", "undirected": True},
    )
    edges = [
        Edge(f"p{k}", f"c{k}", relation, distance=0.1, rank=8, **figures)
        for k, (relation, figures) in enumerate(product((*STEPS, "unheard-of"), unsure))
    ]
    files = (WeightFile("w.npz", 80, "0" * 64),)
    ids = [end for edge in edges for end in (edge.parent, edge.child)]
    nodes = tuple(Node(i, f"models:/{i}", "npz", "a1", 10, files=files) for i in ids)
    trees = tuple(Tree(edge.parent, (edge.parent, edge.child)) for edge in edges)
    return ModelGraph("gram", nodes, tuple(edges), trees, options={"bootstrap": 100})


def texts(graph: ModelGraph) -> dict[str, str]:
    """Everything that people read of a graph, by where."""
    out = {}
    for name, known in FORMATS.items():
        wrote = known.write(graph)
        out[name] = wrote if isinstance(wrote, str) else "\n".join(wrote.values())
    out["modelcards"] = html.unescape(re.sub(r"\\([^A-Za-z0-9\s])", r"\1", out["modelcards"]))
    out["terminal"] = "\n".join(line.plain for line in forest(graph))
    out["explanation"] = "\n".join(explanation(graph))
    out["picture"] = html.unescape(re.sub("<(path|circle)[^>]*>", "", svg(graph)))
    out["notebook"] = html.unescape(of_edges(graph.edges, graph.method))
    out["diff"] = "\n".join(lines(difference(ModelGraph("gram"), graph), graph))
    out["tags"] = "\n".join(" ".join(x.values()) for x in tags(graph, lambda at: at)[0].values())
    out["page"] = json.dumps([item["told"] for item in view(graph, "")["items"]])
    ways = ((Step("edge", e.child, e.parent, e),) for e in graph.edges)
    out["gate"] = "\n".join(map(way, ways))
    places = (placement(graph, edge.child, 1) for edge in graph.edges)
    out["place"] = "\n".join(line for place in places for line in in_words(place))
    return out


def test_every_output_tells_the_same_of_every_edge():
    graph = varied()
    told = texts(graph)
    assert {of_edge(edge).grade for edge in graph.edges} == set(GRADES)
    page = {item["name"]: item["told"] for item in view(graph, "")["items"]}
    asked = answers.Answers(graph, "")
    tables = csv.DictReader(io.StringIO(FORMATS["csv"].write(graph)["edges.csv"]))
    rows = {row["Target"]: row for row in tables}
    drawn = networkx.parse_graphml(told["graphml"])
    for edge in graph.edges:
        verdict, beside = of_edge(edge, resamplings=100), of_edge(edge, beside=True)
        both = f"{verdict.grade}: {verdict.sentence}"
        for name in ("terminal", "gate"):
            assert f"{verdict.grade}: {beside.sentence}" in told[name]
        for name in ("explanation", "picture", "diff"):
            assert f"{edge.child}: {both}" in told[name]
        for name in ("tags", "spdx", "cyclonedx", "modelcards"):
            same = f"same weights as {edge.parent}" if edge.relation == "duplicate" else both
            assert same.lower() in told[name].lower(), name
        assert f"{edge.child}: {verdict.grade}: {verdict.sentence}" in told["place"]
        assert page[edge.child] == [verdict.grade, verdict.sentence, *verdict.figures]
        assert asked.details(asked.key(edge.child))["told"] == page[edge.child]
        assert rows[edge.child]["grade"] == verdict.grade
        assert rows[edge.child]["finding"].startswith(verdict.sentence.replace("; ", " - "))
        data = drawn.edges[edge.parent, edge.child]
        assert (data["grade"], data["finding"]) == (verdict.grade, str(verdict))
    assert sum(tally(graph).values()) == len(graph.edges)
    assert all(f"{n} {grade}" in next(summary(graph)) for grade, n in tally(graph).items())


def test_a_comparison_is_graded_as_the_edge_of_the_same_figures():
    """Without support and the next best parent, which two models alone do not have."""
    told = 0
    for edge in varied().edges:
        figures = {x: getattr(edge, x) for x in ("direction_probability", "probabilities")}
        found = Comparison(edge.parent, edge.child, edge.relation, "a", rank=8, **figures)
        alone = Edge(edge.parent, edge.child, edge.relation, rank=8, **figures)
        alone = replace(alone, undirected=unsure(found))
        if edge.relation in ("duplicate", "contains", "relatives") or equal(alone):
            continue  # of these a comparison has sentences of its own
        assert graded(found) == of_edge(alone).grade
        assert f"{edge.child} is {of_edge(alone).sentence}" in compared(found)
        told += 1
    assert told > 80


@pytest.mark.parametrize("p", [0.0, 1.0, 0.9999])
def test_nothing_is_certain_wherever_it_is_told(p):
    graph = varied(p, p)
    said = texts(graph)
    for kind in ("graphml", "newick", "csv", "intoto"):
        del said[kind]  # their figures are data; what they say in words is what the others say
    for name, text in said.items():
        sure = re.findall(r".{30}(?:(?<![\d.])0 %|100 %|[01]\.0+\b(?![.\d])).{10}", text)
        assert sure == [], name
