"""The figures on the pages are what an independent reckoning finds on the same models."""

from __future__ import annotations

import csv
import json
import random
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from click.testing import CliRunner
from experiments.__main__ import main
from experiments.courses import RECIPES, SIBLINGS, checkpoints, plan
from experiments.figures import EXPERIMENTS, figure4, splits
from experiments.figures.courses import falling
from experiments.figures.everything import _runs
from experiments.figures.lora_ablation import METHODS
from experiments.figures.methods import LAYERS, papers, papers_distance
from experiments.figures.pages import Table, table_as_csv
from experiments.figures.table4 import subtree
from experiments.scales import TINY
from pages import Written, few
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from mother import recover
from mother.graph.evaluation import evaluate, read_truth
from mother.methods import paper


def _run(*words: str) -> Any:
    return CliRunner().invoke(main, list(words))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_page_names_its_command_and_its_models(written: Written, name: str) -> None:
    text = (written.out / f"{name}.md").read_text()
    assert f"`python -m experiments {name} --scale tiny --seeds 0`" in text
    assert f"({name}.svg)" in text
    assert f"({name}.csv)" in text
    assert "seed 0" in text
    assert "nan" not in text
    assert f"[{name}]({name}.md)" in (written.out / "README.md").read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_picture_is_svg_for_light_and_dark(written: Written, name: str) -> None:
    text = (written.out / f"{name}.svg").read_text()
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(text) < 100_000
    assert "fill: #ffffff" not in text  # transparent
    assert "fill: #000000" not in text


@pytest.mark.parametrize("name", ["strangers", "robustness", "table1", "figure3", "siblings"])
def test_the_same_bytes_by_its_own_command(written: Written, name: str, tmp_path: Path) -> None:
    data = str(written.data.parent)
    with few():
        result = _run(
            name, "--scale", "tiny", "--seeds", "0", "--data", data, "--out", str(tmp_path)
        )
    assert result.exit_code == 0, result.output
    for ending in ("csv", "svg"):
        file = f"{name}.{ending}"
        assert (tmp_path / file).read_bytes() == (written.out / file).read_bytes()


def test_csv_round_trips() -> None:
    rows: list[dict[str, object]] = [{"a": "x, y", "b": 0.125}, {"a": 'say "z"', "c": 3}]
    back = list(csv.DictReader(table_as_csv(rows).splitlines()))
    assert back == [
        {"a": "x, y", "b": "0.125", "c": ""},
        {"a": 'say "z"', "b": "", "c": "3"},
    ]


@pytest.mark.parametrize("layers", ["dense", "value", "all matrices"])
def test_table_1_is_what_recover_finds(written: Written, layers: str) -> None:
    truth = json.loads((written.data / "ft-0" / "truth.json").read_text())
    for members in truth["trees"]:
        files = [written.data / "ft-0" / f"{id}.safetensors" for id in members]
        true = {tuple(edge) for edge in truth["edges"] if edge[0] in members}
        told = {"method": "mother", "distance": "ft", "trees": 1, "layers": LAYERS[layers]}
        for method, options in (("paper", told), ("ours", {"bootstrap": 0})):
            graph = recover(files, **options)
            found = {(edge.parent, edge.child) for edge in graph.edges}
            (row,) = written.rows(
                "table1",
                split="ft",
                root=members[0],
                method=method,
                layers=layers if method == "paper" else "",
            )
            assert int(row["right"]) == len(found & true)
            loose = {frozenset(edge) for edge in found}
            assert int(row["undirected"]) == sum(frozenset(edge) in loose for edge in true)
            assert float(row["accuracy"]) == pytest.approx(len(found & true) / len(true), abs=1e-5)


def test_table_1_on_the_whole_graph(written: Written) -> None:
    truth = read_truth(written.data / "lora-v-0" / "truth.json")
    (row,) = written.rows("table1", split="lora-v", root="whole graph", method="ours")
    found = evaluate(recover([written.data / "lora-v-0"], bootstrap=0), truth)
    assert (int(row["right"]), int(row["true"])) == (found.right, found.true)
    assert float(row["adjusted_rand_index"]) == found.adjusted_rand_index


def test_true_direction_leaves_what_the_distance_gets_wrong(written: Written) -> None:
    """Where the distance alone makes the true tree, a score that falls from parent to child makes
    its edges point the right way."""
    for row in written.rows("table1", split="ft", method="paper"):
        if row["distance_alone"] == "1":
            assert row["true_direction"] == "1"


def test_kurtosis_falls_on_a_counted_share_of_edges(written: Written) -> None:
    def score(id: str) -> float:
        return sum(
            float(stats.kurtosis(w, axis=None, fisher=False))
            for name, w in written.weights("ft", id).items()
            if name.endswith("dense.weight")
        )

    forest = written.tree("ft")
    edges = [(p, c) for p, c in forest.edges if p.startswith("mae")]
    (row,) = written.rows("table1", split="ft", root="mae", method="paper", layers="dense")
    share = sum(score(p) > score(c) for p, c in edges) / len(edges)
    assert float(row["kurtosis_falls"]) == pytest.approx(share, abs=1e-5)


@pytest.mark.parametrize("size", [2, 4, 6])
def test_a_subtree_is_a_connected_part_of_its_tree(written: Written, size: int) -> None:
    forest = written.tree("ft")
    tree = written.family("ft").trees()["mae"]
    seen = set()
    for draw in range(20):
        part = subtree(tree, size, random.Random(draw))
        within = forest.subgraph(part.ids)
        assert len(set(part.ids)) == size
        assert nx.is_arborescence(within)
        assert {(part.ids[p], part.ids[c]) for p, c in part.edges} == set(within.edges)
        seen.add(frozenset(part.ids))
    assert len(seen) > 3


def test_table_4_draws_ten_of_a_size_and_tree(written: Written) -> None:
    rows = written.rows("table4", root="mae", method="ours", share="0.6")
    assert len(rows) == 10
    assert {row["models"] for row in rows} == {"4"}  # of 7
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx(int(row["right"]) / 3, abs=1e-5)


def test_edges_between_and_correlation(written: Written) -> None:
    forest = written.tree("ft").to_undirected()
    tree = written.family("ft").trees()["supervised"]
    between = tree.edges_between()
    pairs = list(combinations(range(len(tree.ids)), 2))
    steps = [nx.shortest_path_length(forest, tree.ids[i], tree.ids[j]) for i, j in pairs]
    assert [between[i, j] for i, j in pairs] == steps
    distance = papers_distance(tree, "dense", "ft")
    expected = np.corrcoef(steps, [distance[i, j] for i, j in pairs])[0, 1]
    rows = written.rows("figure2", split="ft", root="supervised", method="paper", edges="")
    assert [float(row["correlation"]) for row in rows] == [pytest.approx(expected, abs=1e-5)]


def test_papers_distances_are_those_of_the_paper(written: Written) -> None:
    """Eq. 1 after min-max normalisation over the tree, eq. 2 as a rank."""
    tree = written.family("ft").trees()["mae"]
    models = [written.weights("ft", id) for id in tree.ids]
    dense = [name for name in models[0] if name.endswith("dense.weight")]
    width = {
        name: max(m[name].max() for m in models) - min(m[name].min() for m in models)
        for name in dense
    }
    found = papers_distance(tree, "dense", "ft")
    for i, j in combinations(range(len(models)), 2):
        expected = max(np.abs(models[i][n] - models[j][n]).max() / width[n] for n in dense)
        assert found[i, j] == pytest.approx(expected, rel=1e-5)
    tree = written.family("lora-v").trees()["mae"]
    models = [written.weights("lora-v", id) for id in tree.ids]
    found = papers_distance(tree, "value", "lora")
    for i, j in combinations(range(len(models)), 2):
        gaps = [models[i][n] - models[j][n] for n in models[0] if n.endswith("value.weight")]
        assert found[i, j] == max(np.linalg.matrix_rank(gap, tol=1e-5) for gap in gaps)


@pytest.mark.parametrize("kind", figure4.KINDS)
@pytest.mark.parametrize("split", ["ft", "continued"])
def test_triples_are_of_their_kind(written: Written, split: str, kind: str) -> None:
    forest = written.tree(split)
    family = written.family(split)
    loose = forest.to_undirected()
    drawn = figure4.triples(family, kind, random.Random(0))
    for triple in drawn:
        a, b, c = (family.ids[k] for k in triple)
        edges = set(forest.subgraph([a, b, c]).edges)
        wanted = {
            "GPC": {(a, b), (b, c)},
            "PC2": {(a, b), (a, c)},
            "PCS": {(a, b)},
            "S3": set(),
        }[kind]
        assert edges == wanted
        parts = nx.number_connected_components(nx.Graph(loose.subgraph([a, b, c]).edges))
        apart = sum(not nx.has_path(loose, x, y) for x, y in combinations((a, b, c), 2))
        assert (parts, apart) == {"GPC": (1, 0), "PC2": (1, 0), "PCS": (1, 2), "S3": (0, 3)}[kind]
    if (split, kind) == ("ft", "GPC"):
        assert len(drawn) == 2 * 2 * 2  # each grandchild once
    assert bool(drawn) or (split, kind) in {("ft", "S3"), ("continued", "PC2")}


def test_figure_7_is_scikit_learns_index(written: Written) -> None:
    family = written.family("ft")
    trees = recover([written.data / "ft-0"], bootstrap=0).trees
    labels = [next(k for k, tree in enumerate(trees) if id in tree.members) for id in family.ids]
    rows = written.rows("figure7", split="ft", models=str(len(family.ids)), method="ours")
    expected = adjusted_rand_score(family.tree, labels)
    assert [float(row["adjusted_rand_index"]) for row in rows] == [pytest.approx(expected)]
    small = written.rows("figure7", split="ft", models="3", method="ours")
    assert len(small) == 10


def _course(written: Written, stage: str, root: str) -> list[str]:
    ids: list[str] = checkpoints(plan(TINY, "courses", 0))[stage, root]
    return ids


def test_a_course_is_one_training(written: Written) -> None:
    records = json.loads((written.data / "courses-0" / "records.json").read_text())["models"]
    ids = _course(written, "specialization", "mae")
    assert ids == ["mae", *(f"mae-{k:02}" for k in range(1, 11))]
    assert nx.is_path(written.tree("courses"), ids)
    seconds = [records[id]["seconds"] for id in ids[1:]]
    assert seconds == sorted(seconds)
    early = _course(written, "generalization", "mae")
    assert nx.is_path(written.tree("courses"), early)
    assert len(early) == 11
    assert records[early[0]]["recipe"]["marks"] == [k / 10 for k in range(11)]


def test_scores_over_a_course_are_scipys(written: Written) -> None:
    reckon = {
        "mean": np.mean,
        "variance": np.var,
        "skewness": lambda w: stats.skew(w, axis=None),
        "kurtosis": lambda w: stats.kurtosis(w, axis=None, fisher=False),
    }
    ids = _course(written, "specialization", "supervised")
    for name, figure in reckon.items():
        expected = [
            sum(
                float(figure(w))
                for layer, w in written.weights("courses", id).items()
                if layer.endswith("dense.weight")
            )
            for id in ids
        ]
        rows = [r for r in written.rows("scores", root="supervised", score=name) if r["progress"]]
        assert [float(r["value"]) for r in rows] == pytest.approx(expected, rel=1e-4, abs=1e-7)
        (share,) = [
            r for r in written.rows("scores", root="supervised", score=name) if r["falling"]
        ]
        pairs = list(combinations(expected, 2))
        fall = sum(later < earlier for earlier, later in pairs) / len(pairs)
        assert float(share["falling"]) == pytest.approx(fall, abs=1e-5)


def test_falling() -> None:
    assert falling(np.array([4.0, 3.0, 2.0])) == 1
    assert falling(np.array([1.0, 3.0, 2.0, 5.0])) == pytest.approx(1 / 6)


def test_polarity_by_type_of_layer(written: Written) -> None:
    ids = _course(written, "specialization", "mae")
    models = [written.weights("courses", id) for id in ids]
    value = [name for name in models[0] if name.endswith("value.weight")]
    lacking = squared = 0.0
    for name in value:
        weight = models[0][name].size / np.mean([np.sum(m[name] ** 2) for m in models])
        start, end = models[0][name], models[-1][name]
        lacking += weight * np.sum((start - end) * start)
        squared += weight * np.sum((start - end) ** 2)
    (row,) = written.rows("layer-types", root="mae", layers="value", progress="1")
    assert float(row["polarity"]) == pytest.approx(lacking / squared, rel=1e-4)


def test_siblings_differ_by_their_seed_alone(written: Written) -> None:
    records = json.loads((written.data / "siblings-0" / "records.json").read_text())["models"]
    for letter in "ab"[:RECIPES]:
        of = [records[f"mae-{letter}{k}"] for k in range(1, SIBLINGS + 1)]
        assert len({(json.dumps(r["recipe"] | {"epochs": 0}), r["task"]) for r in of}) == 1
        assert len({r["loss"] for r in of}) == SIBLINGS
    assert records["mae-a1"]["task"] != records["mae-b1"]["task"]


def test_ratio_of_siblings(written: Written) -> None:
    ids = ["mae", *(f"mae-a{k}" for k in range(1, SIBLINGS + 1))]
    models = [written.weights("siblings", id) for id in ids]
    dense = [name for name in models[0] if name.endswith("dense.weight")]

    def far(i: int, j: int) -> float:
        def width(name: str) -> float:
            return float(max(m[name].max() for m in models) - min(m[name].min() for m in models))

        return float(max(np.abs(models[i][n] - models[j][n]).max() / width(n) for n in dense))

    between = min(far(i, j) for i, j in combinations(range(1, SIBLINGS + 1), 2))
    ratio = between / max(far(0, k) for k in range(1, SIBLINGS + 1))
    (row,) = written.rows("siblings", root="mae", recipe="a", method="paper")
    assert float(row["ratio"]) == pytest.approx(ratio, rel=1e-4)
    assert row["further"] == str(int(ratio > 1))


def test_constant_c_at_the_default_is_table_1(written: Written) -> None:
    at = {"split": "ft", "root": "mae"}
    (row,) = written.rows("constant-c", **at, method="paper", c=f"{paper.C:g}")
    (same,) = written.rows("table1", **at, method="paper", layers="dense")
    assert row["accuracy"] == same["accuracy"]
    flat = {r["accuracy"] for r in written.rows("constant-c", **at, method="ours")}
    assert len(flat) == 1


def test_lora_ablation_is_of_both_distances(written: Written) -> None:
    tree = written.family("lora-v").trees()["mae"]
    rows = {r["method"]: int(r["right"]) for r in written.rows("lora-ablation", root="mae")}
    for method, distance in zip(METHODS, ("lora", "ft"), strict=False):
        found = papers(tree, "value", distance)
        right = sum(found[c] == p for p, c in tree.edges)
        assert rows[method] == right


@pytest.mark.parametrize("split", ["ft", "cnn", "same-seed", "mixed"])
def test_every_split_by_ours_is_what_recover_finds(written: Written, split: str) -> None:
    folder = written.data / f"{split}-0"
    found = evaluate(recover([folder], bootstrap=0), read_truth(folder / "truth.json"))
    (row,) = written.rows("splits", split=split, method="ours")
    figures = ("right", "undirected", "true", "false")
    assert [int(row[f]) for f in figures] == [
        found.right,
        found.right_undirected,
        found.true,
        found.false,
    ]
    assert float(row["adjusted_rand_index"]) == pytest.approx(found.adjusted_rand_index, abs=1e-5)


def test_the_best_choice_of_layers_is_the_best(written: Written) -> None:
    rows: list[dict[str, object]] = [
        r | {k: int(r[k]) for k in ("right", "undirected", "true", "false")}
        for r in written.rows("splits", split="ft")
    ]
    right = {r["layers"]: r["right"] for r in rows if r["method"] == "paper"}
    assert list(right) == list(LAYERS)
    assert right[splits.best(Table(rows), "ft")] == max(right.values())  # type: ignore[type-var]


def test_training_time_counts_each_run_once(written: Written) -> None:
    records = json.loads((written.data / "courses-0" / "records.json").read_text())["models"]

    def seconds() -> Iterator[float]:
        for ids in checkpoints(plan(TINY, "courses", 0)).values():
            yield records[ids[-1]]["seconds"]

    assert sum(s for _, s in _runs(written.data / "courses-0")) == pytest.approx(sum(seconds()))


def test_says_what_is_to_be_built(tmp_path: Path) -> None:
    result = _run("table4", "--scale", "tiny", "--data", str(tmp_path), "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "python -m experiments build ft --scale tiny --seed 0" in result.output
    assert not list(tmp_path.iterdir())


def test_pages_say_which_seeds_were_there(written: Written, tmp_path: Path) -> None:
    data = str(written.data.parent)
    result = _run(
        "figure7", "--scale", "tiny", "--seeds", "0,7", "--data", data, "--out", str(tmp_path)
    )
    assert result.exit_code == 0, result.output
    assert "Found on ft (seed 0), lora-v (seed 0)" in (tmp_path / "figure7.md").read_text()


def test_refuses_seeds_that_are_no_numbers() -> None:
    assert _run("table1", "--seeds", "0,x").exit_code == 2
