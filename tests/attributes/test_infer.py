"""`mother infer` as users meet it: tables good and bad, files, the graph, exports and the gate."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from click.testing import CliRunner, Result

import mother
from mother.attributes.inference import annotated
from mother.cli import cli
from mother.exports import FORMATS
from mother.graph import Edge, ModelGraph, Node

TUNED = [f"tuned-{k}" for k in range(8)]
OTHERS = [f"other-{k}" for k in range(8)]


@pytest.fixture
def graph() -> ModelGraph:
    """Two families of nine."""
    nodes = tuple(Node(x, x, "npz", "a", 1) for x in ("base", *TUNED, "other", *OTHERS))
    edges = tuple(Edge("base", x, "fine-tune", distance=0.1) for x in TUNED)
    edges += tuple(Edge("other", x, "fine-tune", distance=0.1) for x in OTHERS)
    return ModelGraph("gram", nodes, edges)


def table(**more: str) -> dict[str, dict[str, str]]:
    """Half of each family states its licence."""
    told = {x: {"license": "mit"} for x in ("base", *TUNED[:4])}
    told |= {x: {"license": "llama3"} for x in ("other", *OTHERS[:4])}
    return told | {id_: {"license": value} for id_, value in more.items()}


def test_a_licence_comes_from_relatives_with_a_probability_and_a_reason(graph: ModelGraph) -> None:
    found = {cell.model: cell for cell in mother.infer(graph, table())}
    assert found["base"] == (
        "base",
        "license",
        "stated",
        "mit",
        None,
        None,
        None,
        "the table, row 1",
    )
    cell = found["tuned-7"]
    assert (cell.status, cell.value, cell.why) == (
        "inferred",
        "mit",
        "its parent and all 4 siblings say mit",
    )
    assert 0.8 < cell.probability < 1
    assert found["other-7"].value == "llama3"


def test_a_frame_goes_in_and_a_frame_comes_out(graph: ModelGraph) -> None:
    stated = pandas.DataFrame.from_dict(table(), orient="index")
    frame = mother.infer(graph, stated).to_frame()
    assert len(frame) == 18
    cells = frame.set_index("model")
    assert cells.loc["base", "status"] == "stated"
    assert tuple(cells.loc["tuned-7", ["status", "value"]]) == ("inferred", "mit")


def test_noise_is_not_known() -> None:
    rng = np.random.default_rng(0)
    ids = [f"m{k}" for k in range(120)]
    nodes = tuple(Node(x, x, "npz", "a", 1) for x in ids)
    edges = tuple(Edge(ids[k - k % 6], x, "lora") for k, x in enumerate(ids) if k % 6)
    noise = {x: {"seed": f"s{rng.integers(6)}"} for x in ids[::2]}
    found = mother.infer(ModelGraph("", nodes, edges), noise)
    assert {c.status for c in found} == {"stated", "not known"}


def test_numbers_have_intervals_and_sets_their_elements(graph: ModelGraph) -> None:
    rng = np.random.default_rng(1)
    told = {
        x: {"rate": base * float(np.exp(0.1 * rng.standard_normal())), "tags": tags}
        for base, ids, tags in ((1e-5, TUNED, ["en", "fr"]), (1e-2, OTHERS, ["de"]))
        for x in ids[:6]
    }
    found = {(c.model, c.attribute): c for c in mother.infer(graph, told)}
    rate = found["tuned-7", "rate"]
    assert rate.low < rate.value < rate.high
    assert 5e-6 < rate.value < 2e-5
    assert found["other-7", "tags"].value == ("de",)
    assert found["tuned-7", "tags"].value == ("en", "fr")


def test_stated_and_inferred_are_apart_in_the_graph_and_old_graphs_open(graph: ModelGraph) -> None:
    known = annotated(graph, mother.infer(graph, table()))
    content = json.loads(known.to_json())
    assert {x["model"] for x in content["stated"]}.isdisjoint(
        x["model"] for x in content["inferred"]
    )
    assert content["inferred"][0]["why"]
    assert ModelGraph.from_json(known.to_json()).inferred
    assert "inferred" not in json.loads(graph.to_json())


def test_exports_mark_what_is_inferred(graph: ModelGraph) -> None:
    known = annotated(graph, mother.infer(graph, table()))
    for name in ("graphml", "csv", "cyclonedx", "spdx", "modelcards"):
        written = FORMATS[name].write(known)
        text = "\n".join(written.values()) if isinstance(written, dict) else written
        assert "inferred:license" in text.replace("\\", ""), name
        assert "stated:license" in text.replace("\\", ""), name


def run(folder: Path, graph: ModelGraph, text: str, *more: str) -> Result:
    (folder / "graph.json").write_text(graph.to_json())
    (folder / "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    arguments = ["infer", str(folder / "graph.json"), "--attributes", str(folder / "t.csv"), *more]
    return CliRunner().invoke(cli, arguments)


def test_that_files_state_nothing_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "alone.npz", w=np.ones((8, 8), np.float32))
    (tmp_path / "graph.json").write_text(mother.recover(tmp_path).to_json())
    done = CliRunner().invoke(cli, ["infer", str(tmp_path / "graph.json"), "--from-files"])
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "mother: nothing is stated of these models; --attributes TABLE tells\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "an empty table"),
        ("id\nbase\n", "holds no attributes, only ids"),
        ("id,a\n", "holds no rows"),
        ("id,a\nx,1\n", "names none of the graph's models; its first is 'x'"),
        ("id,a\nbase,1\nbase,2\n", "row 3 names 'base' again, after row 2"),
        ("id,a,a\nbase,1,2\n", "names the attribute 'a' twice"),
        ("id,a\nbase,1,3\n", "line 2 has 3 cells, the first 2"),
        ('id,a\nbase,"1\n', "no CSV in line 2"),
        ("id,a\nbase,\udcff\n", "not UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(
    tmp_path: Path, graph: ModelGraph, text: str, says: str
) -> None:
    fault = run(tmp_path, graph, text).exception
    assert isinstance(fault, mother.InputError)
    assert says in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "holds no attributes, only ids"),
        ({"base": "mit"}, "of 'base' the table holds no attributes but 'mit'"),
        ({"base": {1: "x", "1": "y"}}, "names an attribute of 'base' twice"),
        ({"base": {"a": 10**400}}, "row 1: 1000000000000000000000"),
        ({"base": {"a": b"mit"}}, "b'mit' is no value: text, a number or several texts is"),
        ({"base": {"a": {"b": 1}}}, "{'b': 1} is no value"),
        ({"base": {"a": [["x"]]}}, "['x'] is no value"),
        ({"base": {"a": 1e308}, "other": {"a": 1.0}}, "a: 1e+308 is beyond 1e+150"),
        ({"base": {"a": 5e-324}, "other": {"a": 1.0}}, "or as close to 0"),
        (pandas.DataFrame(), "holds no attributes, only ids"),
        (pandas.DataFrame([[1, 2]], ["base"], ["a", "a"]), "names the attribute 'a' twice"),
        (["base"], "list is no table: a path, a pandas frame or a mapping is"),
    ],
)
def test_what_is_no_table_in_python_is_refused_in_one_line(
    graph: ModelGraph, table: object, says: str
) -> None:
    with pytest.raises((mother.InputError, mother.UsageError)) as fault:
        mother.infer(graph, table)
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_scalars_and_arrays_of_numpy_and_pandas_are_values(graph: ModelGraph) -> None:
    told = pandas.DataFrame(
        {
            "flag": [np.True_, np.False_, None],
            "word": [np.str_("x"), np.str_("y"), pandas.NA],
            "many": [np.array(["en", "fr"]), ["de"], None],
            "rate": [np.float32(0.5), np.int64(3), float("nan")],
        },
        index=["base", "other", "tuned-1"],
    )
    found = {(c.model, c.attribute): c.value for c in mother.infer(graph, told)}
    values = [found["base", name] for name in told]
    assert values == ["true", "x", ("en", "fr"), 0.5]
    assert [found["tuned-1", name] for name in told] == [None] * 4


def test_of_too_few_numbers_no_interval_is_known(graph: ModelGraph) -> None:
    told = {"base": {"rate": 1.5}, "tuned-1": {"rate": 1.6}, "other": {"rate": 9.5}}
    assert {c.status for c in mother.infer(graph, told)} == {"stated", "not known"}


def test_a_frame_as_spreadsheets_write_it_is_read(tmp_path: Path, graph: ModelGraph) -> None:
    text = "\ufeffid;license\r\n" + "".join(f"{x};mit\r\n" for x in TUNED)
    done = run(tmp_path, graph, text, "--plain")
    assert "license (category): 8 state it" in done.output


def test_one_value_is_nothing_to_tell_apart_and_strangers_are_told(
    tmp_path: Path, graph: ModelGraph
) -> None:
    done = run(tmp_path, graph, "id,license\nbase,mit\ntuned-1,mit\nnobody,gpl\n", "--plain")
    assert done.exit_code == 0
    assert "only mit is stated, nothing else to tell it from" in done.output
    assert "passed over, of models that the graph does not hold: 1 (nobody)" in done.output


def test_a_word_among_numbers_is_told(graph: ModelGraph) -> None:
    rates = {x: {"rate": f"{k + 1}e-5"} for k, x in enumerate((*TUNED, *OTHERS))}
    rates["base"] = {"rate": "fast"}
    with pytest.raises(mother.UsageError, match="rate: 'fast' is no number, and 16 of 17"):
        mother.infer(graph, rates)


def test_numbers_with_commas_are_no_numbers_and_that_is_told(
    tmp_path: Path, graph: ModelGraph
) -> None:
    text = "id;rate\n" + "".join(f"{x};{k},5e-5\n" for k, x in enumerate(TUNED))
    fault = run(tmp_path, graph, text).exception
    assert isinstance(fault, mother.UsageError)
    assert "rate: '0,5e-5' is text, numbers have a point; write 0.5e-5, or say" in str(fault)
    assert run(tmp_path, graph, text, "--kind", "rate=category").exit_code == 0


def test_formulas_and_escapes_act_on_nothing(tmp_path: Path, graph: ModelGraph) -> None:
    evil = "=HYPERLINK(1)\x1b[31m"
    rows = [f"{x},{evil}" for x in ("base", *TUNED[:4])]
    rows += [f"{x},mit" for x in ("other", *OTHERS[:4])]
    out = tmp_path / "out.csv"
    text = "id,license\n" + "\n".join(rows) + "\n"
    shown = run(tmp_path, graph, text, "--plain")
    assert "\x1b" not in shown.output
    assert run(tmp_path, graph, text, "-o", str(out)).exit_code == 0
    written = out.read_text()
    assert ",'=HYPERLINK(1)\\x1b[31m," in written
    assert ",=" not in written
    assert "\x1b" not in written


def test_a_single_value_acts_on_no_terminal(tmp_path: Path, graph: ModelGraph) -> None:
    done = run(tmp_path, graph, "id,a\x1b[2J,b\nbase,\x1b[31m,1\n", "--plain")
    assert "\x1b" not in done.output
    assert "only \\x1b[31m is stated" in done.output


def test_files_state_what_their_cards_and_configs_say(tmp_path: Path) -> None:
    for name, licence in (("a", "mit"), ("b", "gpl-3.0")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "README.md").write_text(f"---\nlicense: {licence}\nlanguage: [en]\n---\n")
        (folder / "trainer_state.json").write_text(
            '{"global_step": 7, "log_history": [{"learning_rate": 1e-5}, {"learning_rate": 2e-5}]}'
        )
    (tmp_path / "b" / "config.json").write_text("{broken")
    nodes = tuple(Node(x, str(tmp_path / x), "safetensors", "a", 1) for x in "ab")
    found = mother.infer(ModelGraph("", nodes), files=True)
    told = {(c.model, c.attribute): (c.value, c.why) for c in found if c.status == "stated"}
    assert told["a", "license"] == ("mit", f"{tmp_path / 'a' / 'README.md'}: license")
    assert told["b", "language"][0] == ("en",)
    assert told["a", "learning_rate"][0] == 2e-5
    assert [f.endswith("b/config.json: not valid JSON") for f in found.faults] == [True]
