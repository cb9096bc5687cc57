"""What metadata says of parents and licences: against PyYAML, gguf and safetensors as oracles, and
against those who write it to do harm."""

import json
import os
import random
import struct
import tracemalloc

import gguf
import numpy as np
import pytest
import safetensors.numpy
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mother.checkpoints import front_matter
from mother.checkpoints.claims import read_claims, repository
from mother.checkpoints.front_matter import MAX_FRONT_MATTER, read_front_matter
from mother.checkpoints.gguf_header import MAX_HEADER, read_gguf_fields
from mother.checkpoints.storage import File


def write_card(folder, text, name="README.md"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def entries(folder, head):
    front = head if isinstance(head, bytes) else head.encode()
    return read_front_matter(File(write_card(folder, b"---\n" + front + b"\n---\n")))


def values(found):
    return {key: [e.value for e in each] for key, each in found.items()}


def parents(folder):
    claims = read_claims(folder)
    assert not claims.faults, claims.faults
    return [c.value for c in claims.parents]


def fault_of(folder):
    claims = read_claims(folder)
    assert not claims.parents
    (fault,) = claims.faults
    assert "\n" not in fault.fault
    assert fault.fault.isprintable()
    return fault.fault


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("README.md", "---\nlicense: mit\nbase_model: org/base\n---\n", 3),
        ("config.json", '{\n"_name_or_path":\n"org/base"\n}', 2),
    ],
)
def test_files_saved_on_windows(tmp_path, name, text, line):
    write_card(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(), name)
    claims = read_claims(tmp_path)
    assert not claims.faults
    assert [(claim.value, claim.line) for claim in claims.parents] == [("org/base", line)]


@pytest.mark.parametrize("value", ["", "~", "null", "[]", "[~, null]", "{a: b}"])
def test_no_value_is_no_claim(tmp_path, value):
    write_card(tmp_path, f"---\nbase_model: {value}\nlicense: 'null'\n---\n")
    claims = read_claims(tmp_path)
    assert claims.parents == ()
    assert [c.value for c in claims.licences] == ["null"]


NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(st.dictionaries(NAME, NAME | st.lists(NAME, max_size=5), max_size=6))
def test_front_matter_is_what_yaml_says(tmp_path_factory, content):
    """Scalars and lists of scalars, however PyYAML writes them."""
    head = yaml.safe_dump(content, allow_unicode=True)
    found = entries(tmp_path_factory.mktemp("card"), head)
    loaded = yaml.safe_load(head)
    wanted = {k: v if isinstance(v, list) else [v] for k, v in loaded.items()}
    assert values(found) == {k: [x for x in v if x is not None] for k, v in wanted.items()}


@given(st.binary(max_size=300))
def test_front_matter_of_any_bytes_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("card")
    write_card(folder, b"---\n" + data + b"\n---\n")
    claims = read_claims(folder)
    assert all(len(f.fault.splitlines()) == 1 for f in claims.faults)
    assert all(c.line >= 2 for c in (*claims.parents, *claims.licences))


def test_lines_are_those_of_the_file(tmp_path):
    text = (
        "\n---\ntags:\n- a\n# said below\nbase_model:\n  - org/one\n  - org/two\nlicense: x\n---\n"
    )
    found = read_front_matter(File(write_card(tmp_path, text)))
    for entry in (e for each in found.values() for e in each):
        assert entry.value in text.split("\n")[entry.line - 1]
    assert [e.line for e in found["base_model"]] == [7, 8]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff---\r\nbase_model: org/base\r\n---\r\n",
        "---\nbase_model: 'org/base'\n---",
        "---\nbase_model: [org/base]\n---\n",
        '---\n{"base_model": "org/base"}\n---\n',
        "---\nbase_model: >-\n  org/base\n---\n",
        "---\nbase_model: !!str org/base # so\nmodel-index:\n- name: x\n  base_model: no\n---\n",
        "--- \nbase_model:\n- org/base\n-\n---\nbase_model: not/this\n",
    ],
)
def test_ways_to_write_a_base(tmp_path, text):
    write_card(tmp_path, text)
    assert parents(tmp_path) == ["org/base"]


@pytest.mark.parametrize(
    "text", ["", "# Title\n", "\n\n", "--\nbase_model: x\n---\n", "---\n---\n"]
)
def test_cards_without_front_matter_claim_nothing(tmp_path, text):
    write_card(tmp_path, text)
    assert parents(tmp_path) == []


def bomb():
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 20)]
    return "\n".join([*lines, "base_model: *a19"])


BAD_HEADS = {
    "a bomb of aliases": (bomb(), "has an alias in line 3"),
    "an alias of itself": ("base_model: &a [*a]", "has an alias in line 2"),
    "nested deep": ("a: " + "[" * 100, "nested deeper"),
    "nested so deep that libyaml refuses": ("a: " + "[" * 100_000, "the card's front matter"),
    "nested deep by indent": ("\n".join(" " * k + "a:" for k in range(400)), "nested deeper"),
    "nested deep by dashes": ("a:\n" + "- " * 100_000, "nested deeper"),
    "the same key twice": ("base_model: a\nbase_model: b", "the key 'base_model' twice"),
    "a list": ("- base_model: a", "holds no keys"),
    "a key that is a list": ("? [a]\n: b", "no name in line 2"),
    "no YAML": ("a: b: c", "not YAML in line 2"),
    "a tab": ("a:\n\t- b", "not YAML in line"),
    "a control character": (b"base_model: a\x1b[31m", "not YAML"),
    "Latin-1": ("base_model: caf\xe9".encode("latin-1"), "not UTF-8"),
}


@pytest.mark.parametrize("libyaml", [True, False])
@pytest.mark.parametrize(("head", "fault"), BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_what_no_card_needs_is_refused(tmp_path, monkeypatch, head, fault, libyaml):
    if not libyaml:
        monkeypatch.delattr(yaml, "CSafeLoader")
    front = head if isinstance(head, bytes) else head.encode()
    write_card(tmp_path, b"---\n" + front + b"\n---\n")
    assert fault in fault_of(tmp_path)


def test_front_matter_of_many_parts_is_refused(tmp_path, monkeypatch):
    write_card(tmp_path, "---\na: [" + "b," * 1000 + "]\n---\n")
    assert parents(tmp_path) == []
    monkeypatch.setattr(front_matter, "MAX_EVENTS", 1000)
    assert "more than 1000 parts" in fault_of(tmp_path)


def test_tags_construct_nothing(tmp_path):
    write_card(tmp_path, "---\nbase_model: !!python/object/apply:os.abort []\nlicense: mit\n---\n")
    assert parents(tmp_path) == []


def test_utf_16_is_refused(tmp_path):
    write_card(tmp_path, "---\nbase_model: org/base\n---\n".encode("utf-16"))
    assert "not UTF-8" in fault_of(tmp_path)


def test_of_a_card_of_100_mb_only_the_start_is_read(tmp_path):
    path = write_card(tmp_path, "---\nbase_model: org/base\n---\n")
    os.truncate(path, 100 << 20)
    tracemalloc.start()
    assert parents(tmp_path) == ["org/base"]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * MAX_FRONT_MATTER


def test_front_matter_of_100_mb_is_refused(tmp_path):
    path = write_card(tmp_path, "---\nbase_model: org/base\n")
    os.truncate(path, 100 << 20)
    assert f"does not end within {MAX_FRONT_MATTER}" in fault_of(tmp_path)


def test_values_are_bounded(tmp_path):
    listed = "\n".join(f"- org/{k}{'x' * 2000}" for k in range(300))
    write_card(tmp_path, f"---\nbase_model:\n{listed}\n---\n")
    found = parents(tmp_path)
    assert len(found) == 100
    assert max(map(len, found)) == 1000


def test_a_card_linked_out_of_its_folder_is_not_followed(tmp_path):
    secret = write_card(tmp_path / "elsewhere", "---\nbase_model: org/secret\n---\n")
    model = tmp_path / "model"
    model.mkdir()
    (model / "README.md").symlink_to(secret)
    assert "a link out of its folder" in fault_of(model)
    (model / "README.md").unlink()
    write_card(model, "---\nbase_model: org/own\n---\n", "card.md")
    (model / "README.md").symlink_to("card.md")
    assert parents(model) == ["org/own"]


def test_cards_of_a_hub_cache_are_links_into_its_blobs(tmp_path):
    repo = tmp_path / "models--org--tuned"
    write_card(repo / "blobs", "---\nbase_model: org/base\n---\n", "0a1b")
    snapshot = repo / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").symlink_to("../../blobs/0a1b")
    assert parents(snapshot) == ["org/base"]


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "README.md")
    assert "not a regular file" in fault_of(tmp_path)


def test_configs_name_a_parent_and_its_line(tmp_path):
    for name, key in (
        ("config.json", "_name_or_path"),
        ("model_index.json", "_name_or_path"),
        ("adapter_config.json", "base_model_name_or_path"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(json.dumps({"a": 1, key: "org/base"}, indent=1))
        (claim,) = read_claims(folder).parents
        assert (claim.key, claim.value, claim.line) == (key, "org/base", 3)


@pytest.mark.parametrize("text", [b"{", b"\xff{}", b"[" * 100_000, b'{"a": ' * 100_000])
def test_configs_that_are_no_json_are_faults(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    assert "not valid JSON" in fault_of(tmp_path)


@pytest.mark.parametrize("value", [None, 3, ["a"], {"a": "b"}, ""])
def test_configs_that_name_no_parent(tmp_path, value):
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": value}))
    assert parents(tmp_path) == []


def test_licences_and_relations(tmp_path):
    write_card(
        tmp_path,
        "---\nlicense: other\nlicense_name: house-rules\nbase_model_relation: adapter\n---\n",
    )
    claims = read_claims(tmp_path)
    assert [(c.value, c.line) for c in claims.licences] == [("house-rules", 3)]
    assert [c.value for c in claims.relations] == ["adapter"]


def test_safetensors_metadata(tmp_path):
    told = {"base_model": "org/base", "modelspec.license": "mit", "format": "pt"}
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"w": np.ones(2, np.float32)}, path, told)
    for where in (path, tmp_path):
        claims = read_claims(where)
        assert [c.value for c in claims.parents] == ["org/base"]
        assert [(c.value, c.line) for c in claims.licences] == [("mit", None)]


def test_cards_beside_one_of_several_files_speak_of_none(tmp_path):
    write_card(tmp_path, "---\nbase_model: org/base\n---\n")
    assert read_claims(tmp_path / "a.npz", alone=False).parents == ()
    assert [c.value for c in read_claims(tmp_path / "a.npz").parents] == ["org/base"]


def write_gguf(path, order=gguf.GGUFEndian.LITTLE, **more):
    """As llama.cpp's converter writes it, with a vocabulary in the middle."""
    writer = gguf.GGUFWriter(path, "llama", endianess=order)
    writer.add_name("Tuned")
    writer.add_token_list([f"token {k}" for k in range(5000)])
    writer.add_token_scores([0.5] * 5000)
    writer.add_array("tests.nested", [[1, 2], [3]])
    writer.add_license("other")
    writer.add_license_name("house-rules")
    writer.add_tags(["one", "two"])
    writer.add_base_model_count(2)
    writer.add_base_model_name(0, "Base")
    writer.add_base_model_organization(0, "Org")
    writer.add_base_model_name(1, "Second Base")
    writer.add_base_model_repo_url(1, "https://huggingface.co/org/second")
    for key, value in more.items():
        writer.add_float64(key, value)
    writer.add_tensor("w", np.arange(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("order", gguf.GGUFEndian)
def test_gguf_fields_are_what_gguf_reads(tmp_path, order):
    path = write_gguf(tmp_path / "q.gguf", order, number=0.25)
    reader = gguf.GGUFReader(path)
    wanted = {key: field.contents() for key, field in reader.fields.items()}
    wanted = {key: value for key, value in wanted.items() if not key.startswith("GGUF.")}
    plain = {k: v for k, v in wanted.items() if not k.startswith(("tokenizer.", "tests."))}
    assert {k: v for k, v in read_gguf_fields(File(path), "").items() if k in plain} == plain
    general = {k: v for k, v in wanted.items() if k.startswith("general.")}
    assert read_gguf_fields(File(path)) == general


def test_gguf_claims(tmp_path):
    claims = read_claims(write_gguf(tmp_path / "q.gguf"))
    assert [repository(c.value) for c in claims.parents] == ["Org/Base", "org/second"]
    assert [c.value for c in claims.licences] == ["house-rules"]


def text(value):
    return struct.pack("<Q", len(value)) + value


def header(*pairs, count=None, version=3):
    many = len(pairs) if count is None else count
    return b"GGUF" + struct.pack("<IQQ", version, 0, many) + b"".join(pairs)


def array(kind, count, body=b""):
    return struct.pack("<IIQ", 9, kind, count) + body


BAD_GGUF = {
    "cut": header()[:10],
    "pairs without end": header(count=2**63),
    "a key without end": header(struct.pack("<Q", 2**63), count=1),
    "a string without end": header(text(b"general.a") + struct.pack("<IQ", 8, 2**62)),
    "an array without end": header(text(b"a") + array(4, 2**62)),
    "strings without end": header(text(b"a") + array(8, 2**62)),
    "our strings without end": header(text(b"general.a") + array(8, 2**62)),
    "our numbers without end": header(text(b"general.a") + array(0, 2**62)),
    "arrays in arrays": header(text(b"a") + array(9, 1, struct.pack("<IQ", 9, 1) * 99)),
    "an unknown type": header(text(b"general.a") + struct.pack("<I", 99)),
    "a foreign version": header(version=77),
    "the first version": header(version=1),
}


@pytest.mark.parametrize("data", BAD_GGUF.values(), ids=BAD_GGUF.keys())
def test_gguf_headers_that_lie_are_refused_without_allocating(tmp_path, data):
    (tmp_path / "q.gguf").write_bytes(data)
    tracemalloc.start()
    assert "GGUF" in fault_of(tmp_path / "q.gguf")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20


def test_a_long_gguf_header_is_walked_only_so_far(tmp_path):
    path = tmp_path / "q.gguf"
    path.write_bytes(header(text(b"a") + array(0, 2**40)))
    os.truncate(path, 2**41)
    assert f"longer than {MAX_HEADER}" in fault_of(path)


@given(st.binary(max_size=200), st.integers(0, 4))
def test_gguf_of_any_bytes_is_read_or_refused(tmp_path_factory, data, count):
    path = tmp_path_factory.mktemp("gguf") / "q.gguf"
    path.write_bytes(header(data, count=count))
    claims = read_claims(path)
    assert all(len(f.fault.splitlines()) == 1 for f in claims.faults)


def test_a_good_gguf_header_cut_or_changed_anywhere(tmp_path):
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    draw = random.Random(0)
    path = tmp_path / "q.gguf"
    for _ in range(300):
        at = draw.randrange(24, 400)
        changed = bytes([draw.randrange(256) for _ in range(8)])
        path.write_bytes(whole[:at] + changed + whole[at + 8 : draw.randrange(at + 8, len(whole))])
        read_claims(path)


def test_names_of_repositories():
    for name in ("org/base", "https://huggingface.co/org/base", "hf://org/base@v1", "org/base@1"):
        assert repository(name) == "org/base"
    assert repository("a/b/c") == "a/b/c"
