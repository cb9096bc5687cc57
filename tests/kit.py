"""What many tests are made of: models of arrays, folders of them, and the command line."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.cli import main
from mother.hub.traffic import TRAFFIC
from mother.layouts import align


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def run(*arguments, encoding="utf-8", stdout=None):
    """`mother` with these arguments, in this process."""
    out = stdout or io.TextIOWrapper(io.BytesIO(), encoding)
    err = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
    argv, sys.argv = sys.argv, ["mother", *map(str, arguments)]
    TRAFFIC.taken()  # counts of what other tests asked for
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    texts = []
    for stream in (out, err):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        held = getattr(stream, "buffer", None)
        texts.append(
            held.getvalue().decode(encoding, "replace") if isinstance(held, io.BytesIO) else ""
        )
    return Result(code, *texts)


def child_process(*arguments, before="", **options):
    """`mother` as a process of its own, after some Python that prepares it."""
    code = f"import sys; sys.argv[0] = 'mother'\nfrom mother.cli import main\n{before}\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ended(process, seconds=60):
    """What the process wrote to its two streams; one that never ends fails the test."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail(f"still running after {seconds} s")
    return out or "", err or ""


def check_valid(content, schema):
    """Against a JSON Schema, by the draft that it names."""
    import jsonschema  # builds its grammars first, for a second

    jsonschema.validators.validator_for(schema)(schema).validate(content)


def save_distributed(tree, folder):
    """In parts, as trainings on many machines save them."""
    import torch.distributed.checkpoint  # brings sympy along, in a second

    with pytest.warns(UserWarning, match="torch.distributed"):
        torch.distributed.checkpoint.save(tree, checkpoint_id=folder, no_dist=True)


def check_refused(result, *names):
    """Exit 2, and every line on stderr is ours and names something; all names are told."""
    assert result.code == 2, result
    lines = result.err.splitlines()
    assert lines
    assert all(line.startswith("mother: ") for line in lines), result.err
    assert "Traceback" not in result.out + result.err
    for name in names:
        assert str(name) in result.err, result.err


def check_one_line(result, *names):
    check_refused(result, *names)
    assert len(result.err.splitlines()) == 1, result.err


def model(seed=0, layers=12, width=64):
    draw = np.random.default_rng(seed)
    weights = {}
    for k in range(layers):
        weights[f"layer{k}.weight"] = draw.standard_normal((width, width)).astype(np.float32)
        weights[f"layer{k}.bias"] = draw.standard_normal(width).astype(np.float32)
    return weights


def tuned(weights, seed, by=0.3):
    draw = np.random.default_rng(1000 + seed)
    return {
        name: np.asarray(w + by * draw.standard_normal(w.shape), w.dtype)
        for name, w in weights.items()
    }


def save(path, weights):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights, path)
    return path


def save_gguf(path, weights):
    """As the package gguf writes it."""
    import gguf  # by few tests, and slow

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    for name, w in weights.items():
        writer.add_tensor(name, w)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def save_claims(folder):
    """A base, a stranger, and a child of the base whose card names the stranger."""
    base = model(0)
    claims = {"base": (base, ""), "other": (model(1), ""), "false": (tuned(base, 1), "other")}
    for name, (weights, claimed) in claims.items():
        save(folder / name / "model.safetensors", weights)
        if claimed:
            (folder / name / "README.md").write_text(f"---\nbase_model: {claimed}\n---\n")


def save_family(folder, count=5, seed=0):
    root = model(seed)
    save(folder / "root.safetensors", root)
    for k in range(1, count):
        save(folder / f"child{k}.safetensors", tuned(root, k))
    return folder


def checkpoint(id, arrays, format="npz"):
    """A checkpoint in memory."""
    return Checkpoint(id, Path(id), format, {n: constant(n, a) for n, a in arrays.items()})


def group_of(models):
    """The one group that models, {name: array} each, are of; called 000, 001, ..."""
    (group,) = align([checkpoint(f"{i:03}", arrays) for i, arrays in enumerate(models)])
    return group


def in_full(group, of):
    """The layers of a group of sketches, in the models that `of` holds by id."""
    held = {(layer.name, layer.shape) for layer in group.layers}
    (whole,) = align([of[c.id] for c in group.checkpoints])
    return whole.over((layer.name, layer.shape) in held for layer in whole.layers)


def edges(graph):
    """(parent, child) of a graph."""
    return {(edge.parent, edge.child) for edge in graph.edges}
