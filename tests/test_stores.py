"""Models in stores that fsspec knows: one in memory, and S3 as moto's server speaks it."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from kit import model, tuned
from safetensors.numpy import save

import mother
from mother.checkpoints import Problem, discover, open_checkpoint
from mother.cli import cli
from mother.errors import InputError
from mother.hub import TRAFFIC, az, gs, is_address, s3, stores
from mother.hub.patience import TIMEOUT
from mother.index import Index
from mother.index.unit import sketched, unit
from mother.sketches.windows import SAMPLED_MATRICES

Put = Callable[[str, bytes], None]


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("mother.hub.mirrors._spool", tmp_path / "spool")
    monkeypatch.setattr("mother.hub.patience.sleep", lambda _: None)


@pytest.fixture
def put() -> Iterator[Put]:
    """Puts a file at a path in memory://."""
    fs = fsspec.filesystem("memory")
    yield lambda path, data: fs.pipe(f"/lab/{path}", data)
    if fs.exists("/lab"):
        fs.rm("/lab", recursive=True)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of S3 as moto's server speaks it, with a bucket `lab`."""
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # those of another test's server
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:{1}".format(*server.get_host_and_port()))
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAME")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "5ec2e7")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="lab")
        yield client
        client.close()
    server.stop()


def large(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return save({f"layer{k}": rng.normal(size=150_000).astype(np.float32) for k in range(4)})


def npz(seed: int) -> bytes:
    out = io.BytesIO()
    np.savez(out, w=np.random.default_rng(seed).normal(size=(8, 8)))
    return out.getvalue()


def family(write: Put) -> None:
    base = model(0)
    write("models/base.safetensors", save(base))
    write("models/ein Kind, ü/model.safetensors", save(tuned(base, 1)))
    write("models/ein Kind, ü/README.md", b"---\nbase_model: base\n---\n")
    write("models/notes.txt", b"no model")


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_recover_compare_check_index(kind: str, put: Put, bucket: Any, tmp_path: Path) -> None:
    def upload(key: str, data: bytes) -> None:
        bucket.put_object(Bucket="lab", Key=key, Body=data)

    family(put if kind == "memory" else upload)
    at = f"{kind}://lab/models"
    graph = mother.recover(at)
    (edge,) = graph.edges
    assert (edge.parent, edge.child) == ("base", "ein Kind, ü")
    assert [n.path for n in graph.nodes] == [f"{at}/base.safetensors", f"{at}/ein Kind, ü"]
    # what the graph says is read again
    assert mother.compare(*(n.path for n in graph.nodes)).parent == "a"
    ran = CliRunner().invoke(cli, ["check", at])
    assert ran.exit_code == 0, ran.output
    assert "confirmed" in ran.stdout
    if kind == "memory":
        return
    index = str(tmp_path / "index")
    for arguments in (["create", index], ["add", index, at], ["add", index, at]):
        ran = CliRunner().invoke(cli, ["index", *arguments])
        assert ran.exit_code == 0, ran.output
    assert "2 unchanged" in ran.stdout


@pytest.mark.slow
def test_workers_read_from_the_bucket_themselves(bucket: Any, tmp_path: Path) -> None:
    family(lambda key, data: bucket.put_object(Bucket="lab", Key=f"far/{key}", Body=data))
    graphs, counted = [], []
    for sent in ([], ["--executor", "local:2"]):
        index = tmp_path / f"index{len(sent)}"
        Index.create(index, budget=8 << 10).close()
        program = "import mother.cli; mother.cli.main()"
        command = [sys.executable, "-c", program, "index", "add", index, "s3://lab/far", *sent]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        counted.append(done.stdout.splitlines()[-1])
        with Index(index) as opened:
            graphs.append(opened.graph().to_json())
    assert graphs[0] == graphs[1]
    here, there = ([int(n) for n in re.findall(r" (\d+) requests", each)] for each in counted)
    assert (here, there) == ([4], [9])  # each worker finds its model by itself


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_ranges_and_changed_bytes(kind: str, put: Put, bucket: Any) -> None:
    def write(data: bytes) -> None:
        if kind == "memory":
            put("big.safetensors", data)
        else:
            bucket.put_object(Bucket="lab", Key="big.safetensors", Body=data)

    write(large(0))
    before = TRAFFIC.bytes, TRAFFIC.requests
    c = open_checkpoint(f"{kind}://lab/big.safetensors")
    c.tensors["layer2"].read(100, 110)
    assert TRAFFIC.bytes - before[0] < 400_000 < len(large(0))
    assert TRAFFIC.requests - before[1] <= 6
    write(large(1))
    with pytest.raises(InputError, match="has changed in the store while it was read"):
        c.tensors["layer3"].read()
    with pytest.raises(InputError, match=r"big\.safetensors: has changed"):
        c.files[0].sha256()


def test_a_larger_file_takes_its_place(put: Put) -> None:
    put("big.safetensors", large(0))
    c = open_checkpoint("memory://lab/big.safetensors")
    put("big.safetensors", large(0) + b"more")
    with pytest.raises(InputError, match="bytes by the store's list and"):
        c.tensors["layer3"].read()


def test_an_index_notices_other_bytes_of_the_same_size(put: Put, tmp_path: Path) -> None:
    put("m.safetensors", save(model(0)))
    run = CliRunner().invoke
    run(cli, ["index", "create", str(tmp_path / "i")])
    assert "1 added" in run(cli, ["index", "add", str(tmp_path / "i"), "memory://lab"]).stdout
    put("m.safetensors", save(model(1)))
    assert "1 changed" in run(cli, ["index", "add", str(tmp_path / "i"), "memory://lab"]).stdout


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://lab/none", "nothing lies there"),
        ("s3://none/models", "The specified bucket does not exist"),
        ("s3://", "names no bucket"),
        ("s3://lab/text", "no checkpoint: its bytes are of no format that is read"),
        ("memory://lab/none", "nothing lies there"),
        ("simplecache::s3://lab", "no such file or folder"),
        ("zip://a.npz::memory://lab/a.zip", "leads through another store or to this disk"),
        ("reference://lab", "leads through another store or to this disk"),
        ("file:///etc/passwd", "leads through another store or to this disk"),
    ],
)
def test_addresses_that_lead_nowhere(bucket: Any, address: str, said: str) -> None:
    bucket.put_object(Bucket="lab", Key="text", Body=b"hello")
    with pytest.raises(InputError, match=said) as raised:
        mother.recover(address)
    assert "\n" not in str(raised.value)


def test_credentials_that_are_wrong_or_missing(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs
    from botocore.exceptions import NoCredentialsError

    def lacking(*_: Any, **__: Any) -> None:
        raise NoCredentialsError

    def wrong(*_: Any, **__: Any) -> None:
        raise PermissionError("The AWS Access Key Id you provided does not exist in our records.")

    def expired(_: Any, call: str, **__: Any) -> None:
        if call == "head_object":  # whose answer has no words
            raise OSError(errno.EINVAL, "Bad Request")
        raise PermissionError("The provided token has expired.")

    refused = (
        (wrong, "credentials are not accepted"),
        (expired, r"credentials are .*has expired\.\);"),
    )
    for call, said in ((lacking, "no credentials"), *refused):
        monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", call)
        with pytest.raises(InputError, match=rf"s3://lab/models: {said}.*AWS_PROFILE") as raised:
            mother.recover("s3://lab/models")
        assert "5ec2e7" not in str(raised.value)


def test_what_is_no_store(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", lambda *_, **__: {})
    with pytest.raises(InputError, match="what answers there is no server of s3://"):
        mother.recover("s3://lab/models")


def test_a_password_in_an_address_is_not_told(bucket: Any) -> None:
    with pytest.raises(InputError, match="s3://lab/models: ") as raised:
        mother.recover("s3://me:5ec2e7@lab/models")
    assert "5ec2e7" not in str(raised.value)


def test_a_silent_server_is_not_waited_for_without_end() -> None:
    """What libraries are told, of which gcsfs by itself would wait for ever;
    experiments/stores/faults.py has a server that says nothing."""
    told = gs.options()["requests_timeout"]
    assert told.sock_read == told.sock_connect == TIMEOUT
    assert az.options() == {"connection_timeout": TIMEOUT, "read_timeout": TIMEOUT}
    assert s3.options()["config_kwargs"]["read_timeout"] == TIMEOUT


@pytest.mark.parametrize("error", [KeyError("name"), TypeError(), json.JSONDecodeError("", "", 0)])
def test_answers_of_another_kind(error: Exception) -> None:
    manners = stores._manners("gs", stores._ANY, "")
    assert manners.fault(error) == "what answers there is no server of gs://"


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, bucket: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(InputError, match=r"s3://lab/a: s3:// can't be read: Could not connect"):
        mother.recover("s3://lab/a")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize(
    ("address", "module", "wanted"),
    [
        ("s3://lab/models", "s3fs", "'mother-recovery[s3]'"),
        ("gs://lab/models", "gcsfs", "'mother-recovery[gs]'"),
        ("az://lab/models", "adlfs", "'mother-recovery[az]'"),
    ],
)
def test_a_library_that_is_absent(
    address: str, module: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    monkeypatch.setattr(sys.modules["fsspec.registry"], "registry", {})
    with pytest.raises(InputError, match="is not installed") as raised:
        mother.recover(address)
    assert str(raised.value).endswith(f"{module} is not installed; run: pip install {wanted}")


def test_names_that_are_no_files_names(put: Put, bucket: Any, tmp_path: Path) -> None:
    for key in ("odd/a", "odd/a/b.npz", "odd//c.npz", "odd/../d.npz", "odd/" + 300 * "x", "odd/.h"):
        bucket.put_object(Bucket="lab", Key=key, Body=b"x" * 10)
    bucket.put_object(Bucket="lab", Key="odd/NAME:v0/m.safetensors", Body=save(model(0)))
    bucket.put_object(Bucket="lab", Key="odd/folder/", Body=b"")
    found, problems = discover(["s3://lab/odd"])
    assert [c.shown for c in found] == ["s3://lab/odd/NAME:v0/m.safetensors"]
    faults = [p.fault for p in problems if p.shown == "s3://lab/odd"]
    assert faults == ["4 keys can't be files' names in one folder and were not read: '../d.npz'"]
    with pytest.raises(InputError, match="its key can't be the name of a file"):
        mother.recover("s3://lab/odd/" + 300 * "x")
    assert not (tmp_path / "d.npz").exists()


def test_the_same_place_in_two_buckets(put: Put) -> None:
    for bucket, seed in (("live", 0), ("next", 1)):
        put(f"{bucket}/x/y/base.npz", npz(seed))
    paths = [f"memory://lab/{bucket}/x/y/base.npz" for bucket in ("live", "next")]
    assert [c.id for c in discover(paths)[0]] == ["live/x/y/base", "next/x/y/base"]
    folders = [path.rpartition("/")[0] for path in paths]
    assert [c.id for c in discover(folders)[0]] == ["live/x/y/base", "next/x/y/base"]


def test_as_many_files_as_are_looked_at(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        put(f"{k}.npz", b"")
    monkeypatch.setattr("mother.hub.stores.MAX_FILES", 2)
    with pytest.raises(InputError, match="holds more than 2 files; name a folder in it"):
        mother.recover("memory://lab")


def test_pages_of_a_list(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mother.hub.stores.PAGE", 3)
    for k in range(5):
        bucket.put_object(Bucket="lab", Key=f"many/{k}.txt", Body=b"")
    bucket.put_object(Bucket="lab", Key="many/x/m.safetensors", Body=save(model(0)))
    before = TRAFFIC.requests
    found, problems = discover(["s3://lab/many"])
    assert [c.id for c in found] == ["m"]
    assert not problems
    assert TRAFFIC.requests - before == 4  # is it an object, two pages, a header
    monkeypatch.setattr("mother.hub.stores.MAX_PAGES", 1)
    with pytest.raises(InputError, match="a list of more than 1 pages"):
        mother.recover("s3://lab/many")


def test_what_is_an_address() -> None:
    yes = ["s3://b/k", "s3:/b/k", "gs://b", "az://c", "memory://x", "https://h/f", "hf://o", "hf:"]
    no = ["C:/models", "models/s3", "s3", "none://x", "./s3://b", "nothing:", "models:v3"]
    assert all(map(is_address, yes))
    assert not any(map(is_address, no))


def test_a_worker_knows_other_bytes_of_the_same_size(bucket: Any) -> None:
    bucket.put_object(Bucket="lab", Key="one.safetensors", Body=save(model(0)))
    (found,), _ = discover(["s3://lab/one.safetensors"])
    sent = unit(found, 8 << 10, 0, SAMPLED_MATRICES)
    del found  # a worker has a mirror of its own
    bucket.put_object(Bucket="lab", Key="one.safetensors", Body=save(model(1)))
    done = sketched(sent)
    assert isinstance(done, Problem)
    assert "than were seen before" in done.fault
