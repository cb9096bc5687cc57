"""Any bytes as what strangers hand over beside checkpoints: read or refused in one line.

    pip install atheris
    python -m experiments.fuzz.surfaces graph CORPUS -max_total_time=1800 -rss_limit_mb=2048

The first word is one of `SURFACES`, CORPUS a folder of inputs, to which seeds are added where it is
empty; what follows is libFuzzer's own: https://llvm.org/docs/LibFuzzer.html#options. Smallest
inputs that cover as much are kept in tests/data/fuzz (-merge=1), which tests/test_corpus.py reads.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tests" / "data" / "demo-graph.json"
#: reads the bytes, which lie in the file, too; InputError or UsageError where they are refused
Surface = Callable[[bytes, Path], None]


def graph(data: bytes, path: Path) -> None:
    """graph.json: what was read can be written, drawn and read again."""
    from mother.graph import ModelGraph
    from mother.views.terminal import forest, summary

    held = ModelGraph.load(path)
    text = held.to_json()
    assert ModelGraph.from_json(text).to_json() == text
    assert all("\n" not in line.plain for line in forest(held, None))
    summary(held)


def truth(data: bytes, path: Path) -> None:
    from mother.graph import ModelGraph
    from mother.graph.evaluation import evaluate, read_truth

    evaluate(ModelGraph.load(DEMO), read_truth(path))


def policy(data: bytes, path: Path) -> None:
    from mother.gate.policy import Policy

    Policy.load(path)


def card(data: bytes, path: Path) -> None:
    from mother.checkpoints.front_matter import read_front_matter
    from mother.checkpoints.storage import File

    for key, entries in read_front_matter(File(path)).items():
        key.encode()
        assert all(entry.line > 0 and len(entry.value) <= 1000 for entry in entries)


def adapter(data: bytes, path: Path) -> None:
    """An adapter's config beside its factors and a base."""
    from mother.checkpoints import discover
    from mother.checkpoints.claims import read_claims
    from mother.checkpoints.statements import read_statements

    folder = path.parent / "adapter"
    if not folder.exists():
        folder.mkdir()
        shape = {"A": (2, 8), "B": (8, 2)}
        factors = {f"base_model.model.w.lora_{s}.weight": np.ones(shape[s], "f4") for s in "AB"}
        _save(folder / "adapter_model.safetensors", factors)
        _save(path.parent / "base.safetensors", {"w.weight": np.ones((8, 8), "f4")})
    (folder / "adapter_config.json").write_bytes(data)
    for base in (None, path.parent / "base.safetensors"):
        found, _ = discover([folder], base)
        for tensor in (tensor for each in found for tensor in each.tensors.values()):
            assert len(tensor.read(0, 4)) == min(tensor.size, 4)
    read_claims(folder)
    read_statements(folder)


def config(data: bytes, path: Path) -> None:
    """A config beside weights that it may call quantized, and as an index of shards."""
    from mother.checkpoints import discover
    from mother.checkpoints.claims import read_claims
    from mother.checkpoints.statements import read_statements

    for name, index in (("model", False), ("sharded", True)):
        folder = path.parent / name
        folder.mkdir(exist_ok=True)
        weights = folder / ("part.safetensors" if index else "model.safetensors")
        if not weights.exists():
            codes = np.ones((4, 8), "i4")
            parts = {"qweight": codes, "scales": np.ones((1, 8), "f2"), "qzeros": codes[:1]}
            _save(weights, {"w": np.ones((8, 8), "f4")} | {f"l.{k}": v for k, v in parts.items()})
        (folder / ("model.safetensors.index.json" if index else "config.json")).write_bytes(data)
        found, problems = discover([folder])
        assert len(found) + len(problems) == 1
        for tensor in (tensor for each in found for tensor in each.tensors.values()):
            assert len(tensor.read(0, 4)) == min(tensor.size, 4)
        read_claims(folder)
        read_statements(folder)


def table(data: bytes, path: Path) -> None:
    from mother.attributes.table import stated
    from mother.graph import ModelGraph

    stated(ModelGraph.load(DEMO), path)


def sketch(data: bytes, path: Path) -> None:
    """A sketch's header, a line, and what follows it: deflated, sealed, and put behind the magic of
    each version. MotherError where none of these reads it."""
    from mother.errors import MotherError
    from mother.sketches.sketch_bytes import MAGIC, VERSIONS, load

    text, _, windows = data.partition(b"\n")
    header = zlib.compress(text)
    faults = []
    for version in VERSIONS:
        body = MAGIC + version + len(header).to_bytes(4, "little") + header + windows
        try:
            found = load(body + hashlib.sha256(body).digest(), path)
        except MotherError as fault:
            faults.append(fault)
            continue
        for tensor in found.tensors.values():
            kept = tensor.kept
            assert len(kept.read(0, 4)) == min(kept.size, 4)
    if len(faults) == len(VERSIONS):
        raise faults[0]


def index(data: bytes, path: Path) -> None:
    """The database of an index: opened, verified, shown."""
    from mother.index import Index
    from mother.index.browser import Browser
    from mother.index.store import NAME

    folder = path.parent / "index"
    folder.mkdir(exist_ok=True)
    for end in ("-wal", "-shm", "-journal"):
        (folder / f"{NAME}{end}").unlink(missing_ok=True)
    (folder / NAME).write_bytes(data)
    with Index(folder) as opened:
        opened.verify()
        with suppress_refusal():
            opened.graph().to_json()
        for model in opened.models():
            model.id.encode()
    browser = Browser(folder)
    try:
        for seen in browser.below(None, 0, 10):
            browser.path(seen.key)
        browser.search(["a"], 10)
    finally:
        browser.close()


def api(data: bytes, path: Path) -> None:
    """A request to the server: its first line is the method and the target, the rest the body."""
    from mother.graph import ModelGraph
    from mother.server.app import application

    if not _held:
        _held["app"] = application(ModelGraph.load(DEMO), {"127.0.0.1:8000"})
    line, _, body = data.partition(b"\n")
    method, _, target = line.partition(b" ")
    raw, _, query = target.partition(b"?")
    kind = b"application/json" if method == b"POST" else b"text/plain"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method.decode("latin-1") or "GET",
        "path": raw.decode("utf-8", "replace") or "/",
        "raw_path": raw,
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", kind)],
        "root_path": "",
        "scheme": "http",
    }
    sent: list[dict[str, Any]] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return given.pop() if given else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(_held["app"](scope, receive, send))
    assert sent[0]["status"] < 500, (line, sent)
    told = b"".join(message.get("body", b"") for message in sent)
    if dict(sent[0]["headers"]).get(b"content-type", b"").endswith(b"json"):
        json.loads(told)


SURFACES: dict[str, Surface] = {
    each.__name__: each
    for each in (graph, truth, policy, card, adapter, config, table, sketch, index, api)
}
_held: dict[str, Any] = {}


def suppress_refusal() -> suppress:
    """What a reader may raise: one clear line."""
    from mother.errors import MotherError

    return suppress(MotherError)


def tried(surface: Surface, data: bytes, folder: Path) -> None:
    """Read the bytes; AssertionError where what refuses them is no clear line."""
    from mother.errors import MotherError

    path = folder / "input"
    path.write_bytes(data)
    try:
        surface(data, path)
    except MotherError as fault:
        said = str(fault)
        assert len(said.splitlines()) == 1, said
        assert len(said) < 6000, said
        assert "set_int_max_str_digits" not in said


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    kinds = {"f4": "F32", "f2": "F16", "i4": "I32"}
    head, body = {}, b""
    for name, values in arrays.items():
        at = len(body)
        body += values.tobytes()
        kind = kinds[values.dtype.str[1:]]
        head[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [at, len(body)]}
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def seeds(name: str) -> list[bytes]:
    """Good inputs of a surface, and the shortest of what it holds."""
    if name == "graph":
        whole = json.loads(DEMO.read_text())
        few = {n["id"] for n in whole["nodes"][:6]}
        small = whole | {
            "nodes": whole["nodes"][:6],
            "edges": [e for e in whole["edges"] if {e["parent"], e["child"]} <= few],
            "trees": [],
            "hidden": [],
            "hints": [],
        }
        return [json.dumps(small).encode()]
    if name == "truth":
        return [b'{"edges": [["a", "b"], ["b", "c"]], "trees": [["a", "b"], ["c"]]}']
    if name == "policy":
        rest = 'reason = "r"\n[rules]\nundeclared = "warn"\n[licences]\nmit = ["mit"]\n'
        head = 'deny = ["org/a", "sha256:' + "0" * 64 + '"]\ncertainty = 0.9\n[[accept]]\n'
        return [f'{head}model = "m"\nrule = "copy"\n{rest}'.encode()]
    if name == "card":
        text = "---\nlicense: mit\nbase_model:\n- a/b\n- c/d\ntags: [x, 'y']\nn: {a: b}\n---\n# A"
        return [text.encode(), b"---\na: 1\n---\n"]
    if name == "adapter":
        told = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": True}
        told |= {"base_model_name_or_path": "org/base", "target_modules": ["w"]}
        told |= {"alpha_pattern": {"w": 8}, "rank_pattern": {"w": 2}, "fan_in_fan_out": False}
        return [json.dumps(told).encode()]
    if name == "config":
        gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False}
        told = {"architectures": ["A"], "model_type": "a", "quantization_config": gptq}
        shards = {"metadata": {}, "weight_map": {"w": "part.safetensors"}}
        return [json.dumps(told).encode(), json.dumps(shards).encode()]
    if name == "table":
        ids = [n["id"] for n in json.loads(DEMO.read_text())["nodes"][:4]]
        rows = "".join(f"{id_},mit,1e-4,a;b\n" for id_ in ids)
        return [f"id,license,rate,tags\n{rows}".encode()]
    if name == "api":
        paths = ("/", "/api/graph", "/api/trees?of=1&limit=2", "/api/node/0", "/api/search?q=a")
        posts = (b'POST /api/compare\n{"a": "a", "b": "b"}', b'POST /api/place\n{"path": "/x"}')
        return [*(f"GET {path}\n".encode() for path in paths), *posts]
    return [_database()] if name == "index" else [_sketch()]


def _small(seed: int) -> Any:
    from mother.checkpoints import Checkpoint
    from mother.checkpoints.tensor import constant

    draw = np.random.default_rng(0).normal(size=(4, 16, 16))
    draw = draw + 0.05 * seed * np.random.default_rng(seed).normal(size=draw.shape)
    tensors = {f"w{k}": constant(f"w{k}", w.astype("f4")) for k, w in enumerate(draw)}
    return Checkpoint(f"m{seed}", Path(f"m{seed}"), "npz", tensors)


def _sketch() -> bytes:
    from mother.sketches.sketch import sketch as sketched
    from mother.sketches.sketch_bytes import MAGIC, VERSIONS, dump

    whole = dump(sketched(_small(0), 64))
    at = len(MAGIC + VERSIONS[0])
    start = at + 4
    stop = start + int.from_bytes(whole[at:start], "little")
    return zlib.decompress(whole[start:stop]) + b"\n" + whole[stop:-32]


def _database() -> bytes:
    from mother.index import Index
    from mother.index.newcomer import newcomer, reduced
    from mother.index.store import NAME

    with tempfile.TemporaryDirectory() as folder:
        with Index.create(folder, budget=1024) as made:
            made.insert([newcomer(_small(k), reduced(_small(k), 1024)) for k in range(3)])
            made.settle()
        return (Path(folder) / NAME).read_bytes()


def main() -> None:
    name = sys.argv.pop(1)
    corpus = Path(sys.argv[1])
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["mother", "tomllib"]):
        importlib.import_module("mother.cli.recover")
        first = seeds(name)
        with tempfile.TemporaryDirectory() as folder:
            tried(SURFACES[name], first[0], Path(folder))
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for k, seed in enumerate(first):
            (corpus / f"seed{k}").write_bytes(seed)
    with tempfile.TemporaryDirectory() as made:
        atheris.Setup(sys.argv, lambda data: tried(SURFACES[name], data, Path(made)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
