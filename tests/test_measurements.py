"""Measurements as users hold them, against plain numpy on the weights themselves."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch
from scipy import stats

import mother

LAYERS = ("h.0.attn", "h.1.attn", "head")


def drawn(seed=0, rank=None):
    draw = np.random.default_rng(seed)
    base = {f"{name}.weight": draw.standard_normal((48, 40)) for name in LAYERS}
    base["norm.bias"] = draw.standard_normal(40)
    models = {"base": base}
    for name, by in (("near", 0.05), ("far", 0.2)):
        models[name] = {k: w + by * draw.standard_normal(w.shape) for k, w in base.items()}
    models["stranger"] = {k: draw.standard_normal(w.shape) for k, w in base.items()}
    return {x: {k: w.astype(np.float32) for k, w in m.items()} for x, m in models.items()}


MODELS = drawn()
MATRICES = [f"{name}.weight" for name in LAYERS]


def pairs(of):
    """(n, n) of a function of two models."""
    return np.array([[of(a, b) for b in MODELS.values()] for a in MODELS.values()])


@pytest.fixture(scope="module")
def measured():
    return mother.measure(MODELS)


def test_what_it_holds(measured):
    assert measured.ids == tuple(MODELS)
    assert sorted(measured.layers) == sorted(MODELS["base"])
    assert measured.shapes == tuple(MODELS["base"][name].shape for name in measured.layers)
    assert repr(measured) == "Measurements(4 models, 4 layers, 5800 weights each)"
    for name, gram in zip(measured.layers, measured.gram, strict=True):
        weights = np.stack([m[name].ravel() for m in MODELS.values()]).astype(np.float64)
        np.testing.assert_allclose(gram, weights @ weights.T, rtol=1e-5, atol=1e-3)
    related = measured.kinship > 1
    assert related[:3, :3].all()
    assert not related[3, :3].any()


def relative(a, b):
    size = sum(w.size for w in a.values())
    share = (
        w.size * np.square(w - b[k]).sum() / (np.square(w).sum() + np.square(b[k]).sum()) * 2
        for k, w in a.items()
    )
    return np.sqrt(sum(share) / size)


def euclidean(a, b):
    return np.sqrt(sum(np.square(w - b[k]).sum() for k, w in a.items()))


def ft(a, b):
    gaps = []
    for k in MATRICES:
        all_ = np.stack([m[k] for m in MODELS.values()])
        gaps.append(np.abs(a[k] - b[k]).max() / (all_.max() - all_.min()))
    return max(gaps)


def l1(a, b):
    return np.mean([np.abs(a[k] - b[k]).mean() for k in MATRICES])


def lora(a, b):
    return max(np.linalg.matrix_rank(a[k] - b[k]) for k in MATRICES)


@pytest.mark.parametrize("kind", [relative, euclidean, ft, l1, lora], ids=lambda f: f.__name__)
def test_distances(measured, kind):
    found = measured.distances(kind.__name__)
    np.testing.assert_allclose(found, pairs(kind), rtol=1e-4, atol=1e-4)


def test_a_low_rank_step_has_its_rank():
    draw = np.random.default_rng(3)
    base = {"w": draw.standard_normal((60, 50))}
    step = draw.standard_normal((60, 4)) @ draw.standard_normal((4, 50))
    found = mother.measure({"a": base, "b": {"w": base["w"] + step}}).distances("lora")
    assert found.tolist() == [[0, 4], [4, 0]]


def test_scores(measured):
    of = {
        "kurtosis": lambda w: stats.kurtosis(w, fisher=False),
        "skewness": stats.skew,
        "mean": np.mean,
        "variance": np.var,
    }
    for score, one in of.items():
        wanted = [sum(one(m[k].ravel().astype(float)) for k in MATRICES) for m in MODELS.values()]
        np.testing.assert_allclose(measured.scores(score), wanted, rtol=1e-4, atol=1e-6)
    assert measured.scores("entropy").shape == (4,)
    assert (measured.scores() == measured.scores("kurtosis")).all()


def test_parts_by_id_and_layer(measured):
    part = measured.among(["far", "base"]).over("attn")
    assert part.ids == ("far", "base")
    assert part.layers == ("h.0.attn.weight", "h.1.attn.weight")
    afresh = mother.measure({x: MODELS[x] for x in part.ids}, layers="attn")
    np.testing.assert_allclose(part.gram, afresh.gram, rtol=1e-6)
    np.testing.assert_allclose(part.distances("ft"), afresh.distances("ft"), rtol=1e-6)
    np.testing.assert_allclose(part.scores(), afresh.scores(), rtol=1e-6)
    by_name = measured.over(["head.weight"])
    assert by_name.layers == ("head.weight",)
    assert by_name.among("near").distances().tolist() == [[0.0]]


def test_a_layer_that_one_lacks_is_left_out_of_its_pairs():
    models = {**MODELS, "cut": {k: w for k, w in MODELS["near"].items() if k != "head.weight"}}
    found = mother.measure(models)
    at = found.layers.index("head.weight")
    assert np.isnan(found.gram[at, 4]).all()
    assert np.isfinite(found.distances()).all()
    assert found.distances()[1, 4] == 0
    assert found.distances("l1")[1, 4] == 0


def test_models_come_as_paths_too(tmp_path, measured):
    for name, weights in MODELS.items():
        safetensors.numpy.save_file(weights, tmp_path / f"{name}.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    found = mother.measure(tmp_path)
    assert found.ids == tuple(sorted(MODELS))
    assert [r.path for r in found.refused] == [str(tmp_path / "broken.safetensors")]
    order = [found.ids.index(x) for x in MODELS]
    np.testing.assert_allclose(found.gram[:, order][:, :, order], measured.gram, rtol=1e-6)
    mixed = {"base": tmp_path / "base.safetensors", "far": MODELS["far"]}
    np.testing.assert_allclose(
        mother.measure(mixed).distances(),
        measured.among(["base", "far"]).distances(),
        rtol=1e-6,
    )


class Buffered:
    """Speaks DLPack and nothing else."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **_):
        return self.values.__dlpack__()

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


@pytest.mark.parametrize(
    "form",
    [
        lambda w: torch.from_numpy(w),
        lambda w: torch.nn.Parameter(torch.from_numpy(w)),
        lambda w: torch.from_numpy(np.ascontiguousarray(w.T)).mT if w.ndim > 1 else w,
        Buffered,
        memoryview,
        lambda w: w.astype(">f4"),
    ],
    ids=["torch", "parameter", "transposed", "DLPack", "buffer", "big-endian"],
)
def test_arrays_of_other_libraries(form, measured):
    models = {x: {k: form(w) for k, w in m.items()} for x, m in MODELS.items()}
    np.testing.assert_array_equal(mother.measure(models).gram, measured.gram)


def test_torch_s_short_floats_keep_their_bits():
    for dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float16):
        tensors = {k: torch.from_numpy(w).to(dtype) for k, w in MODELS["base"].items()}
        plain = {k: t.float() for k, t in tensors.items()}
        found = mother.compare(tensors, plain)
        assert found.relation in ("converted", "duplicate"), dtype
    graph = mother.recover({"a": tensors, "b": plain})
    assert {n.id: n.dtype for n in graph.nodes} == {"a": "float16", "b": "float32"}


def test_torch_is_not_imported():
    code = (
        "import sys, numpy as np, mother\n"
        "mother.measure({'a': {'w': np.eye(9)}, 'b': {'w': np.eye(9)}})\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recover_and_compare_take_arrays_as_files(tmp_path):
    for name, weights in MODELS.items():
        safetensors.numpy.save_file(weights, tmp_path / f"{name}.safetensors")
    ours, theirs = mother.recover(MODELS, hints=True), mother.recover(tmp_path, hints=False)
    assert ours.edges == theirs.edges
    assert {n.format for n in ours.nodes} == {"memory"}
    assert ours.hints == ()
    a, b = (tmp_path / f"{x}.safetensors" for x in ("base", "near"))
    one, other = mother.compare(MODELS["base"], MODELS["near"]), mother.compare(a, b)
    assert (one.relation, one.parent, one.layers) == (other.relation, "a", other.layers)
    assert (one.a, one.b) == ("a", "b")


def test_sketches_stand_for_their_models(measured):
    small = {x: mother.sketch(m, 2048, id=x) for x, m in MODELS.items()}
    assert repr(small["base"]) == (
        "Checkpoint(id='base', path=PosixPath('base'), format='memory', notes=(), base=None,"
        " scheme='')"
    )
    found = mother.measure(small)
    np.testing.assert_allclose(found.distances(), measured.distances(), rtol=0.2, atol=0.01)
    whole = {(e.parent, e.child) for e in mother.recover(MODELS).edges}
    assert {(e.parent, e.child) for e in mother.recover(small).edges} == whole
    with pytest.raises(mother.UsageError, match="is a sketch and far is not"):
        mother.measure({**small, "far": MODELS["far"]})
    with pytest.raises(mother.UsageError, match=r"base and far hold other parts of .*; sketch"):
        mother.measure({**small, "far": mother.sketch(MODELS["far"], 2048, seed=1)})


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (5, "not int"),
        (None, "not NoneType"),
        ([], "no models are given"),
        ({}, "no models are given"),
        ([5], "one of the paths is int"),
        (b"folder", "not bytes"),
        ("", "a path is empty"),
        ({"a": 5}, "a: a model is a path, an hf:// address, or {name: array}, not int"),
        ({3: {}}, "3 is no name"),
        ({"a": {3: np.zeros(2)}}, "3 is no name"),
        ({"a": {"w": [1.0, 2.0]}}, "a: w: list is no array"),
        ({"a": {"w": np.array(["x"])}}, "a: w: numpy.ndarray is no array: it holds <U1"),
        ({"a": {"w": np.array([None])}}, "it holds object, not numbers"),
        ({"a": {"w": np.ma.array([1.0], mask=[True])}}, "hides some of its values"),
        ({"a": {"w": torch.zeros(3).to_sparse()}}, "a: w: torch.Tensor is no array"),
        ({"a": {"w": torch.zeros(3, device="meta")}}, "a: w: torch.Tensor is no array"),
    ],
)
def test_a_wrong_thing_is_one_line(models, says):
    for of in (mother.measure, mother.recover):
        if models == [] and of is mother.recover:
            continue  # an empty forest
        with pytest.raises(mother.UsageError) as fault:
            of(models)
        assert says in str(fault.value)
        assert len(str(fault.value).splitlines()) == 1


def test_what_can_not_be_asked(measured):
    for wrong, says in (
        (lambda: measured.distances("far"), "kind 'far' is not one of relative, euclidean"),
        (lambda: measured.scores("luck"), "score 'luck' is not one of kurtosis"),
        (lambda: measured.among(["nobody"]), "no model is called 'nobody'"),
        (lambda: measured.among(["base", "base"]), "name each model once"),
        (lambda: measured.over("nothing"), "layers 'nothing' finds no layer"),
        (lambda: measured.over("["), "is no regular expression"),
        (lambda: measured.over(["nothing"]), "no layer is called 'nothing'"),
        (lambda: measured.over([]), "no layers are named"),
        (lambda: mother.measure({"a": MODELS["far"], "b": {"v": np.eye(7)}}), "2 architectures"),
        (lambda: mother.measure({"a": {"w": np.eye(7)}}, layers="x"), "finds no layer"),
        (lambda: mother.compare(MODELS["far"], 7), "b: a model is a path"),
    ):
        with pytest.raises(mother.UsageError, match=None) as fault:
            wrong()
        assert says in str(fault.value)


def test_integers_alone_are_refused():
    with pytest.raises(mother.InputError, match="holds no floating-point weights"):
        mother.measure({"a": {"w": np.arange(9)}})
