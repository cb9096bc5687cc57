"""Write every picture of the docs, and what is to be read in each, from one graph:

    python scripts/pictures.py                # from tests/data/demo-graph.json
    python scripts/pictures.py --recover      # recovers the demo's models first (make demo's 66 MB)

The texts (screens.json) are compared by a test, so that a picture of older code is found; so is
demo.svg. Needs Chromium and pip install '.[browser]' pillow."""

from __future__ import annotations

import io
import json
import runpy
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.text import Text

import mother
from mother.cli.diff import lines
from mother.cli.output import write_atomically
from mother.gate.page import page as checked
from mother.graph import ModelGraph
from mother.graph.diff import difference
from mother.views.page import page
from mother.views.terminal import forest, summary

ROOT = Path(__file__).parents[1]
GRAPH = ROOT / "tests" / "data" / "demo-graph.json"
IMAGES = ROOT / "docs" / "images"
#: name: what is asked of the page, colour scheme, width and height of the window
SCREENS = {
    "page-overview": ("", "light", 1280, 800),
    "page-light": ("#model={model}", "light", 1280, 800),
    "page-dark": ("#model={model}", "dark", 1280, 800),
    "page-list": ("#view=list", "light", 1280, 800),
    "page-map": ("#view=map&model={model}", "light", 1280, 800),
    "page-phone": ("", "light", 390, 700),
    "page-400": ("#model={model}", "dark", 320, 256),
}


def main() -> None:
    """Write all pictures into docs/images."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        write(browser, IMAGES)
        browser.close()


def write(browser: Browser, images: Path) -> None:
    """Write all pictures into a folder, and in screens.json what is to be read in them."""
    found = ModelGraph.load(GRAPH)
    write_atomically(images / "demo.svg", terminal(["$ mother recover demo/weights/models"], found))
    write_atomically(images / "diff.svg", changes(found))
    texts = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page.html").write_text(page(found, "The demo's families"), encoding="utf-8")
        address = (folder / "page.html").as_uri()
        for screen, (state, scheme, width, height) in SCREENS.items():
            at = address + state.format(model=shown(found))
            tab = opened(browser, at, scheme, width, height)
            tab.wait_for_selector("body[data-ready]")
            tab.screenshot(path=images / f"{screen}.png")
            texts[screen] = words(tab)
            tab.close()
        tab = opened(browser, f"{address}#model={shown(found)}", "light", 1280, 1600)
        tab.wait_for_selector("body[data-ready]")
        tab.evaluate("() => { document.querySelector('.record').open = true }")
        tab.locator("#panel .record").screenshot(path=images / "page-evidence.png")
        texts["page-evidence"] = tab.inner_text("#panel .record").splitlines()
        tab.close()
        (folder / "check.html").write_text(gate(folder / "lab"), encoding="utf-8")
        tab = opened(browser, (folder / "check.html").as_uri(), "light", 1100, 900)
        tab.screenshot(path=images / "check-page.png")
        texts["check-page"] = tab.inner_text("body").splitlines()
        tab.close()
    write_atomically(images / "screens.json", json.dumps(texts, indent=1) + "\n")
    smaller(images)


def shown(graph: ModelGraph) -> str:
    """The model whose evidence is shown: the first with changes by layer, or with a parent."""
    explained = [edge for edge in graph.edges if edge.changes] or list(graph.edges)
    return explained[0].child


def terminal(before: list[str], graph: ModelGraph) -> str:
    """The forest as a terminal of 110 columns shows it."""
    total = [Text(""), *(Text(line, style="bold") for line in summary(graph))]
    return drawn(
        [*(Text(line, style="bold") for line in before), *forest(graph, width=110), *total]
    )


def changes(graph: ModelGraph) -> str:
    """What a week brought: the graph without its last tree, against all of it."""
    last = set(graph.trees[-1].members)
    hidden = {h.id for h in graph.hidden if last & set(h.children)}
    old = replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node.id not in last),
        edges=tuple(edge for edge in graph.edges if edge.child not in last),
        trees=graph.trees[:-1],
        hidden=tuple(h for h in graph.hidden if h.id not in hidden),
    )
    said = [Text(line) for line in lines(difference(old, graph), graph)]
    return drawn([Text("$ mother diff last-week.json graph.json", style="bold"), *said])


def drawn(said: list[Text]) -> str:
    """Lines as a picture."""
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    for line in said:
        console.print(line, highlight=False)
    return console.export_svg(title="mother", unique_id="mother")


def gate(lab: Path) -> str:
    """The page of `mother check --html` on the small lab of docs/check.md."""
    runpy.run_path(str(ROOT / "demo" / "lab.py"))["write"](lab)
    report = mother.check(lab)
    text = checked(report, mother.__version__)
    return text.replace(str(lab.parent) + "/", "")


def opened(browser: Browser, address: str, scheme: str, width: int, height: int) -> Page:
    """A page in a window of that size."""
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab.goto(address)
    return tab


def words(tab: Page) -> list[str]:
    """What is to be read on a screen."""
    return [line for line in tab.inner_text("body").splitlines() if line.strip()]


def smaller(images: Path) -> None:
    """Flat colours: a palette is a third of the bytes."""
    from PIL import Image

    for image in images.glob("*.png"):
        Image.open(image).quantize(255, dither=Image.Dither.NONE).save(image, optimize=True)


def recovered() -> None:
    """The demo's graph by today's code, into the tests' data."""
    demo = runpy.run_path(str(ROOT / "demo" / "run.py"))
    demo["fetch"]()
    graph = mother.recover("demo/weights/models", explain=True, hashes=True)
    write_atomically(GRAPH, graph.to_json())


if __name__ == "__main__":
    if "--recover" in sys.argv:
        recovered()
    main()
