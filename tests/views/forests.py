"""Forests for the tests of the views, hostile ones among them."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from hypothesis import strategies as st

from mother.graph import (
    Edge,
    Evidence,
    HiddenAncestor,
    Hint,
    ModelGraph,
    Node,
    Refused,
    Tree,
    WeightFile,
)

LAYERS = ("embed.weight", "h.0.attn.weight", "h.0.mlp.weight", "h.1.attn.weight", "h.1.mlp.weight")

HOSTILE = [
    "</script><script>window.owned = 1</script>",
    '<img src=x onerror="window.owned = 1">',
    "--><svg onload='window.owned = 1'>",
    ']]></text></svg><!DOCTYPE x [<!ENTITY a "b">]>&a;',
    "\"quotes' and `ticks` ${window.owned = 1}",
    "\x1b[31mred\x1b]0;title\x07",
    '=cmd|"/c calc"!A1',
    "right\u202eto left\u2066\u200f",
    "line\u2028paragraph\u2029new\x85nul\x00\r\n\ttab",
    "../../../etc/passwd",
    "C:\\windows\\..\\con",
    "javascript:window.owned=1",
    "long" * 1024,
    "\u202e" * 4096,
    "lone \udce9 surrogate",
    "\ufffe\uffff tag\U000e0041",
    "模型-🦙-שלום-ünïcödé",
    "{{graph}} {{script}} %s {0}",
    "__proto__",
    "constructor",
    "&lt;b&gt;&amp;",
    "  ",
    "\u3164",
    "",
    " ",
]


def family() -> ModelGraph:
    """Every kind of edge and of figure, a hidden root and a hidden ancestor inside a tree."""
    nodes = tuple(
        Node(
            name,
            f"/models/{name}",
            "safetensors",
            "a1",
            86_567_656,
            "bfloat16",
            notes=("merged by hand",) if name == "tuned" else (),
            unaligned=("head.weight: in no other checkpoint",) if name == "tuned" else (),
            files=(WeightFile("model.safetensors", 346_270_624, "0123456789abcdef" * 4),),
        )
        for name in ("alone", "base", "copy", "deep", "left", "lora", "odd", "right", "tuned")
    )
    why = (
        Evidence("slope", 2.5, "the parent is wholly kept in the child"),
        Evidence("norm", -0.4, "the child is smaller"),
    )
    tuned = Edge(
        "base",
        "tuned",
        "fine-tune",
        "specialization",
        0.12,
        0.08,
        0.98,
        1.0,
        evidence=why,
        runner_up="lora",
        runner_up_ratio=1.5,
        changes=(0.0, 0.1, None, 0.3, 0.2),
    )
    edges = (
        tuned,
        Edge("base", "lora", "lora", "specialization", 0.01, 0.01, 0.9, 0.87, 8),
        Edge("base", "copy", "duplicate"),
        Edge(
            "tuned",
            "deep",
            "continuation",
            "generalization",
            0.3,
            -0.2,
            0.55,
            0.5,
            undirected=True,
            changes=(0.1, 0.2, 0.0, 0.4, 0.5),
        ),
        Edge("left", "odd", "unheard-of", support=0.0),
    )
    return ModelGraph(
        "gram",
        nodes,
        edges,
        (
            Tree("alone", ("alone",)),
            Tree("base", ("base", "copy", "deep", "lora", "tuned")),
            Tree("hidden:1", ("left", "odd", "right"), True),
        ),
        (HiddenAncestor("hidden:1", ("left", "right"), None, 0.5),),
        (Refused("/models/bad.bin", "not a zip archive"),),
        layers={"a1": LAYERS},
        hints=(
            Hint("tuned", "claim", "tuned/README.md", "base_model: alone", "alone", False),
            Hint("tuned", "date", "model.safetensors", "2024-05-01T12:00:00Z", "base", True),
            Hint("odd", "claim", "odd/README.md", "base_model: org/none"),
        ),
    )  # fmt: skip


def hostile(names: list[str], parents: list[int]) -> ModelGraph:
    """A forest of those names, every other string in it as bad as they are."""
    texts = [*names, "x"]
    nodes = tuple(
        Node(
            name,
            name,
            texts[k - 1],
            name,
            10 * k,
            name,
            notes=(name,),
            unaligned=(name,),
            files=(WeightFile(name, 5, name),),
        )
        for k, name in enumerate(names)
    )
    edges, roots = [], []
    for k, name in enumerate(names):
        up = parents[k] % (k + 1) if k else 0
        if up == k:
            roots.append(name)
        else:
            edges.append(
                Edge(
                    names[up],
                    name,
                    texts[k - 1],
                    name,
                    0.5,
                    0.1,
                    0.9,
                    0.7,
                    evidence=(Evidence(name, 1.0, name),),
                    runner_up=name,
                    runner_up_ratio=1.0,
                    changes=(0.5, 0.1),
                    undirected=bool(k % 2),
                )
            )
    layers = {name: (name, f"{name}.1.{name}") for name in names}
    trees = tuple(Tree(root, (root,)) for root in roots)
    refused = tuple(Refused(name, name) for name in names)
    hints = tuple(Hint(name, name, name, name, name, bool(k % 2)) for k, name in enumerate(names))
    return ModelGraph(
        names[-1], nodes, tuple(edges), trees, (), refused, layers=layers, hints=hints
    )


@st.composite
def graphs(draw: st.DrawFn) -> ModelGraph:
    """Forests of hostile and of arbitrary names."""
    name = st.sampled_from(HOSTILE) | st.text(max_size=12)
    names = draw(st.lists(name, min_size=1, max_size=8, unique=True))
    parents = draw(st.lists(st.integers(0, 7), min_size=len(names), max_size=len(names)))
    return hostile(names, parents)


def crowded() -> ModelGraph:
    """A child with a long name beside one of two children, half a row apart from one of these."""
    names = ["base", "long " * 8, "kid", "left of two", "right of two"]
    return hostile(names, [-1, 0, 0, 2, 2])


def overlapping(root: Element) -> list[tuple[str, str]]:
    """Names that lie in one line and in each other, each 6 wide a letter at least."""
    boxes = [
        (float(e.attrib["x"]), float(e.attrib["y"]), e.text or "")
        for e in root.iter()
        if e.tag.endswith("text") and "text-anchor" not in e.attrib
    ]
    return [
        (one, other)
        for k, (x, y, one) in enumerate(boxes)
        for u, v, other in boxes[k + 1 :]
        if abs(y - v) < 14 and x < u + 6 * len(other) and u < x + 6 * len(one)
    ]
