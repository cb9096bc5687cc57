"""Adapters hang from the family that they fit. Vocabularies that were resized are copies."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mother
from mother.evidence.adapters import FITS, alignment

WIDTH, BLOCKS, RANK = 64, 3, 4


def model(seed, rows=200):
    """Matrices of which what is read has a spectrum, as that of trained ones."""
    rng = np.random.default_rng(seed)
    spectrum = np.exp(-np.arange(WIDTH) / 12)

    def drawn():
        q, _ = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))
        return (rng.standard_normal((WIDTH, WIDTH)) * spectrum) @ q.T

    parts = ("q", "k", "v", "o")
    named = {f"model.layers.{b}.attn.{p}.weight": drawn() for b in range(BLOCKS) for p in parts}
    return named | {"model.embed.weight": rng.standard_normal((rows, WIDTH))}


def tuned(base, seed, size=0.05):
    rng = np.random.default_rng(seed)
    return {n: w + size * rng.standard_normal(w.shape) * w.std() for n, w in base.items()}


def factors(base, seed):
    """LoRA of v as training leaves it: B holds what o hands back."""
    rng = np.random.default_rng(seed)
    out = {}
    for b in range(BLOCKS):
        reads = base[f"model.layers.{b}.attn.o.weight"]
        out[f"layers.{b}.attn.v"] = (
            reads.T @ rng.standard_normal((WIDTH, RANK)) / 50,
            rng.standard_normal((RANK, WIDTH)),
        )
    return out


NAMES = {
    "peft": "base_model.model.model.{}.lora_{}.weight",
    "diffusers": "model.{}.lora.{}.weight",
    "kohya": "lora_unet_model_{}.lora_{}.weight",
}


def write_adapter(folder, left_right, names="peft", claim=None):
    sides = ("B", "A") if names == "peft" else ("up", "down")
    stored = {}
    for module, pair in left_right.items():
        shown = module.replace(".", "_") if names == "kohya" else module
        for side, w in zip(sides, pair, strict=True):
            stored[NAMES[names].format(shown, side)] = w.astype(np.float32)
    if names == "peft":
        folder.mkdir()
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8}
        config |= {"base_model_name_or_path": claim} if claim else {}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        save_file(stored, folder / "adapter_model.safetensors")
    else:
        save_file(stored, folder.with_suffix(".safetensors"))


def write(folder, models):
    for name, weights in models.items():
        stored = {n: np.ascontiguousarray(w, dtype=np.float32) for n, w in weights.items()}
        save_file(stored, folder / f"{name}.safetensors")


@pytest.fixture
def families(tmp_path):
    """Two families of two, and the path they lie in."""
    one, other = model(0), model(1)
    write(tmp_path, {"one": one, "one-a": tuned(one, 2), "two": other, "two-a": tuned(other, 3)})
    return tmp_path, one, other


def edge_of(folder, name):
    graph = mother.recover(folder, bootstrap=0)
    return next((e for e in graph.edges if e.child == name), None), graph


@pytest.mark.parametrize("names", NAMES)
def test_an_adapter_hangs_from_its_family(families, names):
    folder, one, _ = families
    write_adapter(folder / "tune", factors(one, 5), names)
    edge, graph = edge_of(folder, "tune")
    assert (edge.parent, edge.relation) == ("one", "adapter")
    assert edge.direction_probability < 0.8  # which model of the family is not told
    assert any({"one", "one-a", "tune"} == set(t.members) for t in graph.trees)


def test_which_of_the_family_is_what_the_config_claims(families):
    folder, one, _ = families
    write_adapter(folder / "tune", factors(one, 5), claim="someone/one-a")
    edge, _ = edge_of(folder, "tune")
    assert edge.parent == "one-a"
    assert any(e.kind == "claim" and "claim" in e.says for e in edge.evidence)


def test_a_claim_of_another_family_is_contradicted(families):
    folder, one, _ = families
    write_adapter(folder / "tune", factors(one, 5), claim="someone/two")
    edge, graph = edge_of(folder, "tune")
    assert edge.parent == "one"
    assert any("trained on another family" in note for note in graph.node("tune").notes)


@pytest.mark.parametrize("base", ["one-a", "two"])
def test_a_base_that_is_told_is_held_to_the_factors(families, base):
    folder, one, _ = families
    write_adapter(folder / "tune", factors(one, 5))
    graph = mother.recover(folder, base=folder / f"{base}.safetensors", bootstrap=0)
    (edge,) = (e for e in graph.edges if e.child == "tune")
    notes = [n for n in graph.node("tune").notes if "trained on another family, that of one" in n]
    assert (edge.parent, len(notes)) == (base, base == "two")
    assert edge.undirected or base == "one-a"


def test_a_stranger_is_attached_to_none(families):
    folder, *_ = families
    write_adapter(folder / "tune", factors(model(9), 5), claim="someone/one")
    edge, graph = edge_of(folder, "tune")
    assert edge is None
    assert any("fit no family" in note for note in graph.node("tune").notes)


def test_an_adapter_with_a_head_of_its_own_is_no_model(families):
    """What is trained beside the factors may outweigh them, and is the base's by name."""
    folder, one, _ = families
    alone = mother.recover(folder, bootstrap=0)
    write_adapter(folder / "tune", factors(one, 5), claim="someone/one")
    path = folder / "tune" / "adapter_model.safetensors"
    head = {"base_model.model.model.embed.weight": one["model.embed.weight"].astype(np.float32)}
    save_file(load_file(path) | head, path)
    edge, graph = edge_of(folder, "tune")
    assert (edge.parent, edge.relation) == ("one", "adapter")
    assert [e for e in graph.edges if e.child != "tune"] == list(alone.edges)


def test_of_an_adapter_without_factors_that_write_it_is_said_why_it_hangs_from_none(families):
    folder, one, _ = families
    path = folder / "tune"
    write_adapter(path, factors(one, 5), claim="someone/one")
    (path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "IA3", "base_model_name_or_path": "someone/one"})
    )
    name = "base_model.model.model.layers.{}.attn.v.ia3_l"
    values = {name.format(k): np.full((WIDTH, 1), 1 + k, np.float32) for k in range(BLOCKS)}
    save_file(values, path / "adapter_model.safetensors")
    edge, graph = edge_of(folder, "tune")
    assert edge is None
    (note,) = [n for n in graph.node("tune").notes if "IA3" in n]
    assert "does not tell" in note
    assert "someone/one, a claim" in note


def _loha(base, seed):
    """One product of factors along what o reads, by one of ones, that leaves it as it is."""
    left = "base_model.model.model.{}.hada_w{}_{}"
    for module, (b, a) in factors(base, seed).items():
        yield left.format(module, 1, "a"), b
        yield left.format(module, 1, "b"), a
        yield left.format(module, 2, "a"), np.ones((WIDTH, 1))
        yield left.format(module, 2, "b"), np.ones((1, WIDTH))


def _oft(base, seed):
    """One block as wide as the matrix: turned in what q reads."""
    rng, above = np.random.default_rng(seed), np.triu_indices(WIDTH, 1)
    for b in range(BLOCKS):
        w = base[f"model.layers.{b}.attn.q.weight"]
        turned = w.T @ rng.standard_normal((WIDTH, RANK)) @ rng.standard_normal((RANK, WIDTH))
        name = f"base_model.model.model.layers.{b}.attn.q.oft_R.weight"
        yield name, (turned - turned.T)[above][None] / 100


def _kron(base, seed):
    """One number times what is written along what o reads."""
    for module, (b, a) in factors(base, seed).items():
        name = f"base_model.model.model.{module}.lokr_"
        yield name + "w1", np.full((1, 1), 0.5)
        yield from ((f"{name}w2_a", b), (f"{name}w2_b", a))


def _hra(base, seed):
    """Reflections in pairs that undo each other but for what q reads."""
    rng = np.random.default_rng(seed)
    for b in range(BLOCKS):
        reads = base[f"model.layers.{b}.attn.q.weight"].T @ rng.standard_normal((WIDTH, RANK)) / 9
        u = rng.standard_normal((WIDTH, RANK))
        both = np.stack([u, u + reads], axis=2).reshape(WIDTH, -1)
        yield f"base_model.model.model.layers.{b}.attn.q.hra_u", both


def _boft(base, seed):
    for name, above in _oft(base, seed):
        whole = np.zeros((WIDTH, WIDTH))
        whole[np.triu_indices(WIDTH, 1)] = above[0]
        yield name.replace("oft_R.weight", "boft_R"), whole[None, None]


def _unheard(base, seed):
    """Of a kind that nobody named, what is read."""
    for module, (b, a) in factors(base, seed).items():
        yield f"base_model.model.model.{module}.novel_up.default", a
        yield f"base_model.model.model.{module}.novel_down.default", b.T


@pytest.mark.parametrize("kind", [_loha, _oft, _boft, _kron, _hra, _unheard])
def test_adapters_of_every_kind_hang_from_their_family(families, kind):
    folder, one, _ = families
    for name, base in (("tune", one), ("strange", model(9))):
        write_adapter(folder / name, factors(base, 5))
        values = {n: np.ascontiguousarray(w, np.float32) for n, w in kind(base, 5)}
        save_file(values, folder / name / "adapter_model.safetensors")
    edge, graph = edge_of(folder, "tune")
    assert (edge.parent, edge.relation) == ("one", "adapter")
    assert not any(e.child == "strange" for e in graph.edges)


def test_factors_that_do_not_fit_each_other_are_none(families):
    """Hostile shapes: products that can't be formed, or would be larger than is read."""
    folder, one, _ = families
    write_adapter(folder / "tune", factors(one, 5))
    name, stored = "base_model.model.model.layers.0.attn.{}", {}
    for part, shape in (("w1_a", (9, 2)), ("w1_b", (3, 9)), ("w2_a", (9, 2)), ("w2_b", (2, 9))):
        stored[name.format(f"v.hada_{part}")] = np.ones(shape, np.float32)
    stored[name.format("q.oft_R.weight")] = np.ones((4, 7), np.float32)
    stored[name.format("k.oft_R.weight")] = np.ones((20_000, 1), np.float32)
    save_file(stored, folder / "tune" / "adapter_model.safetensors")
    edge, _ = edge_of(folder, "tune")
    assert edge is None


def test_what_began_at_the_same_random_factors_is_no_child(families):
    """A script that sets the seed: adapters of two families, and one that goes on from another."""
    folder, one, other = families
    first, second = factors(one, 5), factors(other, 5)
    rng = np.random.default_rng(6)
    onward = {
        m: (b + 0.3 * b.std() * rng.standard_normal(b.shape), a) for m, (b, a) in first.items()
    }
    for name, each in (("first", first), ("second", second), ("onward", onward)):
        write_adapter(folder / name, {m: (b, first[m][1]) for m, (b, _) in each.items()})
    edge, graph = edge_of(folder, "second")
    assert (edge.parent, edge.relation) == ("two", "adapter")
    assert graph.parent("first") == "one" or graph.parent("onward") == "one"
    assert {graph.parent("first"), graph.parent("onward")} <= {"one", "first", "onward"}
    assert not graph.hidden


def test_200_pairs():
    models = [{n: w for n, w in model(100 + k).items() if "attn" in n} for k in range(20)]
    for own in range(10):
        left = {f"model.{n}.weight": b for n, (b, _) in factors(models[own], own).items()}
        fits = [k for k, each in enumerate(models) if alignment(left, each) >= FITS]
        assert fits == [own]


@pytest.mark.parametrize("rows", [180, 230], ids=["trimmed", "added"])
def test_another_vocabulary_makes_a_copy(tmp_path, rows):
    one = model(0)
    other = dict(one)
    embed, more = one["model.embed.weight"], model(4, 40)["model.embed.weight"]
    other["model.embed.weight"] = np.concatenate([embed, more])[:rows]
    write(tmp_path, {"one": one, "kid": tuned(one, 2), "resized": other, "kid2": tuned(one, 3)})
    edge, graph = edge_of(tmp_path, "resized")
    assert (edge.parent, edge.relation) == ("one", "resized")
    assert graph.parent("kid") == graph.parent("kid2") == "one"
