"""The live page in a browser: the same as the one from disk, and what only a server can do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from browsing import WINDOW, barriers, choose, press, ready, watched
from forests import HOSTILE, family, hostile
from playwright.sync_api import expect
from serving import served

import mother
from mother.graph import Inference, Statement
from mother.views.page import page

#: asks a source everything; values are compared without lists, which only details hold
ASK_ALL = """async (source) => {
  const out = { about: await source.about(), entries: [], details: [], found: [] };
  let level = await source.roots();
  while (level.length) {
    out.entries.push(...level);
    level = (await Promise.all(level.map((entry) => source.children(entry.key)))).flat();
  }
  const short = ({ edge, values, ...entry }) =>
    ({ ...entry, edge: plain(edge), values: plain(values) });
  const plain = (known) => known && Object.fromEntries(
    Object.entries(known).filter(([, value]) => typeof value !== "object").sort());
  for (const { key } of out.entries) {
    const { entry, path, ...rest } = await source.details(key);
    out.details.push({ ...rest, entry: short(entry), path: (await source.path(key)).map(short) });
  }
  out.entries = out.entries.map(short);
  for (const text of ["", " ", "lora", "MODELS tuned", "</script>", "模型", "x y z", "é"]) {
    out.found.push(await source.search(text));
  }
  delete out.about.weights;
  delete out.about.version;
  return out;
}"""


#: lets go of a file above the page
DROP = """([bytes, name]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
}"""


@pytest.fixture
def tab(browser):
    """A tab in which nothing goes wrong but the one request that is to be refused."""
    faults = []
    context = browser.new_context(viewport=WINDOW)
    yield watched(context.new_page(), faults)
    context.close()
    assert [fault for fault in faults if "status of 4" not in fault] == []


HALVED = [k // 2 for k in range(len(HOSTILE))]


def module(name):
    """A module of the page by itself, as an expression; of what it imports it needs nothing."""
    text = page(family()).split(f"const m_{name} = ")[1]
    return text.split("\n})();")[0] + "\n})()"


GUESSED = replace(
    family(),
    stated=(Statement("base", "licence", ("mit",)), Statement("base", "size", number=2.0)),
    inferred=(
        Inference("lora", "licence", ("apache-2.0",), probability=0.9, why="kin"),
        Inference("lora", "size", number=3.0, low=1.0, high=4.0),
    ),
)


@pytest.mark.parametrize("graph", [family(), GUESSED, hostile(HOSTILE, HALVED)])
def test_it_says_what_the_page_from_disk_says(tab, graph, tmp_path):
    """Independent: there JavaScript answers from the graph in the page, here Python does."""
    inside = page(graph).split('id="graph">')[1].split("</script>")[0]
    with served(graph) as address:
        ready(tab, address)
        ours = tab.evaluate(f"() => ({ASK_ALL})({module('served')}.served())")
    theirs = tab.evaluate(
        f"(text) => ({ASK_ALL})({module('source')}.embedded(JSON.parse(text)))", inside
    )
    for here, there in zip(ours["details"], theirs["details"], strict=True):
        assert here == there
    assert ours == theirs


def test_search_compare_and_place(tab, tmp_path):
    draw = np.random.default_rng(0)
    base = {f"h.{k}.weight": draw.standard_normal((48, 48)).astype(np.float32) for k in range(6)}

    def step(weights):
        return {
            name: (w + 0.1 * draw.standard_normal(w.shape)).astype(np.float32)
            for name, w in weights.items()
        }

    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    tuned = step(base)
    for name, weights in (("base", base), ("tuned", tuned), ("other", step(base))):
        np.savez(old / f"{name}.npz", **weights)
    np.savez(new / "deep.npz", **step(tuned))
    with served(mother.recover(old, explain=True), folders=[tmp_path]) as address:
        ready(tab, address)
        assert tab.inner_text("#counts") == "3 models · 1 tree"
        panel = tab.locator("#panel")

        tab.fill("#place-path", "/etc/passwd")
        with tab.expect_response("**/api/place") as refused:
            tab.click("#place")
        assert refused.value.status == 403
        expect(panel).to_contain_text("outside the folders allowed at the start")
        tab.fill("#place-path", str(new / "deep.npz"))
        tab.click("#place")
        placed = "deep: likely: probably fine-tuned from tuned"
        expect(panel).to_contain_text(placed, timeout=60_000)
        assert barriers(tab) == []

        # dropped on the page while something else is shown; then by keys alone
        choose(tab, "other")
        tab.evaluate(DROP, [list((new / "deep.npz").read_bytes()), "deep.npz"])
        expect(panel).to_contain_text(placed, timeout=60_000)
        tab.focus("#place-path")
        with tab.expect_file_chooser() as chooser:
            press(tab, "Tab", "Tab")
            # the page answers, so it knows by now that a chooser is waited for
            expect(tab.locator("#place-choose")).to_be_focused()
            press(tab, "Enter")
        chooser.value.set_files({"name": "far.npz", "mimeType": "", "buffer": b"none"})
        expect(panel).to_contain_text("far.npz: ")
        expect(tab.locator("#said")).to_contain_text("far.npz: ")
        assert barriers(tab) == []

        choose(tab, "tuned")
        expect(panel).to_contain_text("fine-tuned from base")
        expect(panel.locator("table.heat")).to_be_visible()
        tab.click("#compare")
        tab.locator("#tree").press("Home")
        tab.keyboard.press("Enter")
        expect(tab.locator("#panel-title")).to_have_text("Two models")
        tab.click("#weigh")
        expect(panel).to_contain_text("tuned is probably fine-tuned from base", timeout=60_000)
        expect(panel).to_contain_text("where chance allows")  # as much as the command line says
        expect(panel).to_contain_text(
            "Most changed of 6 layers, as a share of the norm in the parent"
        )
        rows = panel.locator("table.pair:has(caption) tbody tr").all_inner_texts()
        assert len(rows) >= 6
        assert all(float(row.split()[3]) < 0.5 for row in rows)  # as of the child, named first
        expect(panel).to_contain_text("Loudest on the direction")
        expect(panel).to_contain_text("grade likely (strong, likely or open)")
        assert barriers(tab) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [WINDOW, {"width": 320, "height": 256}])
def test_nobody_is_kept_out(browser, tmp_path, scheme, window):
    """axe on what a server's page shows beyond the one from disk, and at 400 %."""
    faults = []
    context = browser.new_context(viewport=window, color_scheme=scheme)
    tab = watched(context.new_page(), faults)
    with served(family(), folders=[tmp_path]) as address:
        ready(tab, address)
        assert barriers(tab) == []
        tab.fill("#place-path", str(tmp_path / "none"))
        tab.click("#place")
        expect(tab.locator("#panel")).to_contain_text("none: ")
        assert barriers(tab) == []
        choose(tab, "tuned")
        assert barriers(tab) == []
        tab.click("#as-tree")
        tab.focus("#tree")
        press(tab, "End", "c")
        tab.click("#weigh")
        expect(tab.locator("#panel .warning")).to_contain_text("outside the folders")
        assert barriers(tab) == []
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= window["width"]
        tab.goto(f"{address}/api")
        assert barriers(tab) == []
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= window["width"]
    context.close()
    assert [fault for fault in faults if "status of 40" not in fault] == []


def test_a_checkpoint_dropped_where_no_weights_are_read(browser, tmp_path):
    """It says how they would be; a graph.json dropped there opens all the same."""
    faults = []
    context = browser.new_context(viewport=WINDOW)
    tab = watched(context.new_page(), faults)
    file = tmp_path / "page.html"
    file.write_text(page(family()), encoding="utf-8")
    with served(family()) as address:
        for where in (address, file.as_uri()):
            ready(tab, where)
            tab.evaluate(DROP, [[1, 2, 3], "deep.safetensors"])
            expect(tab.locator("#told")).to_contain_text("deep.safetensors: no graph.json")
            expect(tab.locator("#told")).to_contain_text("--allow FOLDER")
            one = mother.ModelGraph("gram", (mother.graph.Node("one", "/m", "npz", "a", 1),))
            tab.evaluate(DROP, [list(one.to_json().encode()), "graph.json"])
            expect(tab.locator("#counts")).to_have_text("1 model · 1 tree")
    context.close()
    assert faults == []
