"""The page in a real browser: by mouse, by keyboard, by a reader of the accessibility tree."""

from __future__ import annotations

import json
import random
import unicodedata
from dataclasses import replace
from itertools import pairwise

import pytest
from browsing import barriers, choose, press, ready, watched
from forests import HOSTILE, LAYERS, family, hostile
from playwright.sync_api import expect

import mother
from mother.graph import Edge, ModelGraph, Node, Tree
from mother.views.page import page as page_of
from mother.views.terminal import printable
from mother.views.tidy import tidy


@pytest.fixture
def show(browser, tmp_path):
    """Opens a graph's page from disk; at the end there was no error and no request but that."""
    contexts, faults = [], []

    def open_(graph, *, width=1280, height=800, **options):
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(page_of(graph), encoding="utf-8")
        viewport = {"width": width, "height": height}
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        tab = watched(context.new_page(), faults)
        tab.on(
            "request",
            lambda r: None if r.url == path.as_uri() else faults.append(f"request: {r.url}"),
        )
        return ready(tab, path.as_uri())

    yield open_
    for context in contexts:
        context.close()
    assert faults == []


def active(tab):
    """The name of the model that the keyboard stands on, as a screen reader finds it."""
    return tab.evaluate(
        "() => document.getElementById(document.getElementById('tree')"
        ".getAttribute('aria-activedescendant'))?.querySelector('.name').textContent"
    )


def test_it_opens(show):
    tab = show(family())
    assert tab.title() == "Family forest"
    assert tab.inner_text("#counts") == "9 models · 3 trees · 1 hidden ancestor · 1 not read"
    legend = tab.locator("#legend li").all_inner_texts()
    assert {"fine-tune", "lora", "hidden ancestor", "direction unknown"} <= set(legend)
    expect(tab.locator("#panel")).to_contain_text("/models/bad.bin: not a zip archive")
    lit = tab.evaluate(
        "() => {const c = document.getElementById('canvas');"
        "const all = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return all.filter((x, k) => k % 4 === 3 && x > 0).length}"
    )
    assert lit > 2000


def test_evidence(show):
    tab = show(family())
    choose(tab, "tuned")
    panel = tab.locator("#panel")
    for words in (
        *("strong fine-tuned from base.", "98 % sure of the direction", "Polarity 0.08"),
        *("12 % of its weights' norm changed", "found in over 99 % of resamplings"),
        *("specialization", "the weights disagree with what its files claim"),
        *("Next best parent: lora, 1.5 times as far", "the parent is wholly kept in the child"),
        *("+2.5", "−0.4", "86.6 M weights, 346.3 MB", "bfloat16", "0123456789abcdef" * 4),
    ):
        expect(panel).to_contain_text(words)
    rows = panel.locator("table.heat tbody tr")
    assert rows.locator("th").all_inner_texts() == ["embed.weight", "attn.weight", "mlp.weight"]
    assert [r.split() for r in rows.nth(1).locator("td").all_inner_texts()] == [
        [],
        ["0.1"],
        ["0.3"],
    ]
    panel.get_by_role("button", name="base", exact=True).first.click()
    expect(tab.locator("#panel-title")).to_have_text("base")
    expect(panel).to_contain_text("the first of its tree: no parent among the inputs")


def test_hints_and_hashes(show):
    tab = show(family())
    choose(tab, "tuned")
    said = tab.locator("#panel .hints li")
    assert said.all_inner_texts() == [
        "claim base_model: alone (tuned/README.md): "
        "the tree disagrees, it does not come from alone there",
        "date 2024-05-01T12:00:00Z (model.safetensors): agrees, later than its parent base",
    ]
    expect(tab.locator("#panel section .files code")).to_have_text(
        "sha256 " + "0123456789abcdef" * 4
    )
    choose(tab, "base")
    expect(said).to_have_count(0)


def test_equal_bytes_and_what_was_not_compared(show):
    base = Node("base", "/m/base", "npz", "a", 10, compared=0.9999)
    twin = replace(base, id="twin", identical_to="base", freed=49_382_712, read=0.034)
    edge = Edge("base", "twin", "duplicate", undirected=True)
    tab = show(ModelGraph("gram", (base, twin), (edge,), (Tree("base", ("base", "twin")),)))
    panel = tab.locator("#panel")
    for words in (
        "1 model is there twice, byte for byte: 49.4 MB can be freed, safe to delete",
        "1 model read in part, windows first (--exact reads all): of one no more than 3.4 %",
    ):
        expect(panel).to_contain_text(words)
    assert barriers(tab) == []
    choose(tab, "twin")
    expect(panel).to_contain_text("Same bytes asbase safe to delete: 49.4 MB would be free")
    expect(panel).to_contain_text("99 % of its weights")
    expect(panel).to_contain_text("3.4 % of its bytes")


def test_an_architecture_is_called_by_a_model_that_has_it(show):
    tab = show(family())
    tab.select_option("#colour", label="Architecture")
    tab.click("#as-list")
    assert tab.locator("#table .c-architecture").all_inner_texts()[1:3] == ["like alone"] * 2
    choose(tab, "tuned")
    expect(tab.locator("#panel")).to_contain_text("Architecturelike alone a1")
    tab.click("#as-tree")
    tab.focus("#tree")
    press(tab, "End", "c")
    assert "Architecture\tlike alone\tlike alone" in tab.inner_text("#panel table.pair")


def test_equal_weights_descend_from_nobody(show):
    tab = show(family())
    choose(tab, "copy")
    tab.locator("[role=treeitem]", has_text="base").first.dispatch_event(
        "click", {"shiftKey": True, "bubbles": True}
    )
    expect(tab.locator("#panel .claim")).to_have_text(
        "The same weights; which of the two came first is not told."
    )


def test_steps_of_a_run_are_in_the_order_of_their_numbers(show, tmp_path):
    steps = [f"run/checkpoint-{k}" for k in (200, 1000, 30)]
    nodes = tuple(Node(i, i, "npz", "a", 1) for i in ("run", *steps))
    edges = tuple(Edge("run", i, "continuation") for i in steps)
    graph = ModelGraph("gram", nodes, edges, (Tree("run", ("run", *steps)),))
    expected = ["run", *(f"run/checkpoint-{k}" for k in (30, 200, 1000))]
    tab = show(graph)
    assert tab.locator(".line .name").all_inner_texts() == expected
    tab.click("#as-list")
    tab.click("[data-sort=name]")
    assert tab.locator("#table .cells .c-name button").all_inner_texts() == expected
    path = tmp_path / "graph.json"
    path.write_text(graph.to_json(), encoding="utf-8")
    tab = show(family())
    tab.set_input_files("#graph-file", path)
    expect(tab.locator(".line .name")).to_have_text(expected)


def test_direction_that_is_not_known(show):
    tab = show(family())
    choose(tab, "deep")
    expect(tab.locator("#panel")).to_contain_text("which came first is open")


def test_clicks_on_the_drawing(show):
    tab = show(family())
    choose(tab, "lora")
    at = tab.evaluate("() => document.getElementById('canvas').getBoundingClientRect().toJSON()")
    tab.fill("#search", "")
    found = []
    for y in range(int(at["y"]) + 10, int(at["bottom"]) - 10, 12):
        tab.mouse.click(at["x"] + 60, y)
        found.append(tab.inner_text("#panel-title"))
    assert {"alone", "base", "hidden ancestor of left and right"} <= set(found)


def test_search_opens_what_is_closed(show):
    tab = show(family())
    tab.click("#close-all")
    assert tab.locator("[role=treeitem]").count() == 3
    tab.fill("#search", "DEEP")
    expect(tab.locator("#matches")).to_have_text("1 match")
    tab.press("#search", "Enter")
    expect(tab.locator("#matches")).to_have_text("1 of 1")
    expect(tab.locator("#panel-title")).to_have_text("deep")
    assert active(tab) == "deep"
    assert tab.locator(".line.found .name").all_inner_texts() == ["deep"]
    tab.fill("#search", "0123456789abcdef")
    expect(tab.locator("#matches")).to_have_text("9 matches")
    tab.fill("#search", "nothing of the kind")
    expect(tab.locator("#matches")).to_have_text("0 matches")


def test_keyboard_alone(show):
    tab = show(family())
    press(tab, "Tab")
    assert tab.evaluate("() => document.activeElement.textContent") == "Skip to the forest"
    for _ in range(40):
        press(tab, "Tab")
        if tab.evaluate("() => document.activeElement.id") == "tree":
            break
    assert tab.evaluate("() => document.activeElement.id") == "tree"
    walked = [active(tab)]
    for _ in range(3):
        press(tab, "ArrowDown")
        walked.append(active(tab))
    assert walked == ["alone", "base", "copy", "lora"]
    press(tab, "ArrowLeft")
    assert active(tab) == "base"
    press(tab, "ArrowLeft")
    item = tab.locator("#tree .active")
    expect(item).to_have_attribute("aria-expanded", "false")
    press(tab, "ArrowDown")
    assert active(tab) == "hidden ancestor of left and right"
    press(tab, "ArrowUp", "ArrowRight")
    expect(item).to_have_attribute("aria-expanded", "true")
    press(tab, "ArrowRight")
    assert active(tab) == "copy"
    press(tab, "End")
    assert active(tab) == "right"
    press(tab, "Home", "Enter")
    expect(tab.locator("#panel-title")).to_have_text("alone")
    press(tab, "End", "c")
    expect(tab.locator("#panel-title")).to_have_text("Two models")
    press(tab, "Escape")
    expect(tab.locator("#panel-title")).to_have_text("alone")
    press(tab, "/")
    assert tab.evaluate("() => document.activeElement.id") == "search"


def test_a_screen_reader_is_told(show):
    tab = show(family())
    told = tab.locator("#tree").aria_snapshot()
    assert '- treeitem "tuned strong · fine-tune over 99 % support" [expanded] [level=2]' in told
    assert (
        '- treeitem "deep open · continuation · direction unknown 50 % support" [level=3]' in told
    )
    item = tab.locator("[role=treeitem]", has_text="tuned")
    assert item.get_attribute("aria-level") == "2"
    assert item.get_attribute("aria-setsize") == "3"
    assert item.get_attribute("aria-posinset") == "3"
    assert "over 99 % support" in " ".join(item.text_content().split())
    choose(tab, "tuned")
    expect(tab.locator("[role=status]")).to_have_text("Showing tuned")


def test_compare(show):
    tab = show(family())
    choose(tab, "deep")
    tab.click("#compare")
    expect(tab.locator("#choosing")).to_be_visible()
    press(tab, "Home", "ArrowDown", "ArrowDown", "ArrowDown", "Enter")
    panel = tab.locator("#panel")
    expect(tab.locator("#panel-title")).to_have_text("Two models")
    expect(panel).to_contain_text("Both perhaps descend from base.")
    way = [" ".join(x.split()) for x in panel.locator(".way li").all_inner_texts()]
    assert way == [
        *("deep", "↑ perhaps continuation, 30 % changed", "tuned", "↑ fine-tune, 12 % changed"),
        *("base", "↓ probably lora, 1 % changed", "lora"),
    ]
    differing = panel.locator("tr.differs th").all_inner_texts()
    assert {"Stands below", "Relation to it", "Stage", "Changed"} <= set(differing)
    assert "Format" not in differing
    choose_other = tab.locator("[role=treeitem]", has_text="alone")
    choose_other.dispatch_event("click", {"shiftKey": True, "bubbles": True})
    expect(panel).to_contain_text("They stand in different trees")


def test_colours(show):
    tab = show(family())
    offered = tab.locator("#colour option").all_inner_texts()
    assert offered[:4] == ["Relation", "How sure", "Stage", "Support"]
    assert {"Format", "Number type", "Architecture", "Size", "Rank", "Nothing"} <= set(offered)
    for attribute in offered:
        tab.select_option("#colour", label=attribute)
    tab.select_option("#colour", label="Support")
    assert "from 83 %" in tab.locator("#legend li").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["tree", "list", "map"])
def test_accessibility(show, scheme, view):
    tab = show(family(), color_scheme=scheme)
    tab.click(f"#as-{view}")
    for state in ("overview", "evidence", "comparison", "search"):
        if state == "evidence":
            choose(tab, "tuned")
        elif state == "comparison":
            tab.click("#as-tree")
            tab.focus("#tree")
            press(tab, "End", "c")
            tab.click(f"#as-{view}")
            expect(tab.locator("#panel-title")).to_have_text("Two models")
        elif state == "search":
            tab.fill("#search", "lora")
        assert barriers(tab) == [], state


def test_at_four_hundred_per_cent(show):
    """1280 pixels at 400 % are 320 (WCAG 1.4.10): text reflows, nothing lies beside the page."""
    tab = show(family(), width=320, height=256)
    assert tab.evaluate("() => document.documentElement.scrollWidth") == 320
    choose(tab, "tuned")
    assert tab.evaluate("() => document.documentElement.scrollWidth") == 320
    expect(tab.locator("#panel-title")).to_be_in_viewport()
    assert tab.get_attribute("body", "data-view") == "list"


def test_on_a_phone(show):
    tab = show(family(), width=390, height=844, has_touch=True, is_mobile=True)
    tab.locator("#table [role=row]", has_text="tuned").tap()
    expect(tab.locator("#panel-title")).to_have_text("tuned")
    tab.click("#as-tree")
    expect(tab.locator("#canvas")).to_be_visible()
    tab.click("#more")
    expect(tab.locator("#colour")).to_be_visible()
    small = tab.evaluate(
        "() => [...document.querySelectorAll('.bar button, .stage button, .tools button, select')]"
        ".filter((b) => b.offsetParent && Math.min(b.offsetWidth, b.offsetHeight) < 24)"
        ".map((b) => b.id)"
    )
    assert small == []  # WCAG 2.5.8


#: lines of the forest that somebody who looks at the paper can't read whole
UNREAD = """() => [...document.querySelectorAll('.line .name')].filter((name) => {
  const [box, line] = [name.getBoundingClientRect(), name.closest('.line')];
  const shown = line.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const cut = [...document.querySelectorAll('.stage, #tree, .lines, .line, .name')].some((part) =>
    part.contains(name) && (getComputedStyle(part).clipPath !== 'none' ||
    (getComputedStyle(part).overflow !== 'visible' &&
      (part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1))));
  return !shown || cut || box.height < 5;
}).map((name) => name.textContent)"""


@pytest.mark.parametrize("view", ["tree", "list", "map"])
def test_print_shows_the_forest(show, view):
    graph = family()
    long = replace(graph.nodes[0], id="a-very-long-name/" * 12)
    trees = (Tree(long.id, (long.id,)), *graph.trees[1:])
    tab = show(replace(graph, nodes=(long, *graph.nodes[1:]), trees=trees, hints=()))
    tab.click(f"#as-{view}")
    tab.emulate_media(media="print")
    tab.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    assert tab.locator(".line").count() == 10
    assert tab.evaluate(UNREAD) == []
    expect(tab.locator("#canvas")).to_be_hidden()


def test_print_the_evidence_of_one_edge(show):
    long = "model.layers.0.self_attn.query_projection.weight"
    tab = show(replace(family(), layers={"a1": (*LAYERS[:-1], long)}))
    choose(tab, "tuned")
    tab.evaluate("() => { window.print = () => { window.printed = true; } }")
    tab.click("#print")
    tab.emulate_media(media="print")
    assert tab.evaluate("() => window.printed")
    for words in (
        *("fine-tuned from base", "mother compare /models/base /models/tuned", "method gram"),
        *("sha256 " + "0123456789abcdef" * 4, "Files of base:", "direction_probability 98 %"),
    ):
        expect(tab.locator("#panel")).to_contain_text(words)
    expect(tab.locator(".record")).to_contain_text(f"mother {mother.__version__}")
    names = tab.locator(".heat tbody th").all_inner_texts()
    assert long.replace("layers.0", "layers.*") in names  # whole on paper
    expect(tab.locator(".stage")).to_be_hidden()
    expect(tab.locator(".record code").first).to_be_visible()


def test_hostile_names(show):
    graph = hostile(HOSTILE, [k // 2 for k in range(len(HOSTILE))])
    tab = show(graph)
    tab.click("#as-list")
    tab.click("#as-tree")
    tags = tab.evaluate(
        "() => [...new Set([...document.querySelectorAll('body *')].map((e) => e.tagName))]"
    )
    assert not {"IMG", "SVG", "IFRAME", "OBJECT", "B", "svg"} & set(tags)
    tab.focus("#tree")
    press(tab, "Home")
    seen = set()
    for _ in HOSTILE:
        press(tab, "Enter")
        tab.wait_for_function("() => document.querySelector('#panel .path')")
        seen.add(tab.evaluate("() => document.getElementById('panel-title').textContent"))
        press(tab, "c", "Escape", "ArrowDown")
    assert seen == {printable(name) for name in HOSTILE}
    assert tab.evaluate("() => window.owned") is None
    for attribute in tab.locator("#colour option").all():
        tab.select_option("#colour", value=attribute.get_attribute("value"))


def test_names_are_spelled_out_as_in_the_terminal(show):
    tab = show(family())
    texts = [*HOSTILE, *map(chr, range(0, 0x3000, 7)), "\U000e0041\U0001f999"]
    # neither surrogates, which no protocol carries, nor what this Unicode has not assigned yet
    known = [t for t in texts if not {"Cs", "Cn"} & set(map(unicodedata.category, t))]
    script = tab.locator("script[type=module]").text_content()
    body = script.split("const m_names = ")[1].split("\n})();")[0]
    assert "function printable" in body
    shown = tab.evaluate(
        f"(all) => {{ const m = {body}\n}})(); return all.map(m.printable) }}", known
    )
    assert shown == [printable(text) for text in known]


def test_rows_are_those_of_d3(show):
    """Independent: the page's layout is d3-hierarchy's, the pictures' our own."""
    tab = show(family())
    draw = random.Random(0)
    for size in (2, 5, 20, 100, 400):
        up = [draw.randrange(max(0, k - 1 - size // 4), k) for k in range(1, size)]
        below = {k: [c for c, parent in enumerate(up, 1) if parent == k] for k in range(size)}
        theirs = tab.evaluate(
            "(below) => {const tree = d3.tree().nodeSize([1, 1])"
            ".separation((a, b) => a.parent === b.parent ? 1 : 1.25)"
            "(d3.hierarchy(0, (k) => below[k]));"
            "return tree.descendants().map((n) => [n.data, n.x])}",
            json.loads(json.dumps(below)),
        )
        ours = tidy(0, lambda k, below=below: below[k])
        assert ours == pytest.approx(dict(map(tuple, theirs)), abs=1e-9)


def large(models, trees):
    draw = random.Random(1)
    ids = [f"model-{k:05}" for k in range(models)]
    nodes = tuple(Node(i, i, "npz", "a", 1) for i in ids)
    of, edges = list(range(trees)), []
    for k in range(trees, models):
        up = draw.randrange(k)
        of.append(of[up])
        edges.append(Edge(ids[up], ids[k], "lora", support=draw.random()))
    return ModelGraph("gram", nodes, tuple(edges), tuple(Tree(i, ()) for i in ids[:trees]))


def test_five_thousand_models(show):
    tab = show(large(5000, 100))
    assert tab.locator("[role=treeitem]").count() < 100
    tab.focus("#tree")
    press(tab, "End", "Enter")
    expect(tab.locator("#panel-title")).to_have_text(active(tab))
    choose(tab, "model-04999")
    assert active(tab) == "model-04999"


def test_fifty_thousand_models_open_with_closed_trees(show):
    tab = show(large(50_000, 1000))
    expanded = tab.locator("[role=treeitem][aria-expanded=true]")
    assert expanded.count() == 0
    choose(tab, "model-49999")
    assert active(tab) == "model-49999"
    assert expanded.count() > 0


def test_a_long_chain(show):
    ids = [f"m{k:04}" for k in range(3000)]
    edges = tuple(Edge(a, b, "lora") for a, b in pairwise(ids))
    nodes = tuple(Node(i, i, "npz", "a", 1) for i in ids)
    tab = show(ModelGraph("gram", nodes, edges, (Tree(ids[0], ()),)))
    choose(tab, "m2999")
    assert active(tab) == "m2999"


def test_nothing_at_all(show):
    tab = show(replace(family(), nodes=(), edges=(), trees=(), hidden=(), refused=()))
    assert tab.inner_text("#counts") == "0 models · 0 trees"
    tab.focus("#tree")
    press(tab, "ArrowDown", "Enter", "End", "c", "0")
