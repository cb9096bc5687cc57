"""Write docs/images/page-*.png from a graph: the pictures of docs/page.md and the README.

    mother recover demo/weights/models -o graph.json --html page.html
    python scripts/screenshots.py graph.json chgnet_r2scan_transfer_learning_e15f36s161m23

The second is the model whose evidence is shown; by default the first that has a parent. Needs
Chromium and pip install '.[browser]' pillow."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from mother.graph import ModelGraph
from mother.views.page import page

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def opened(browser: Browser, path: Path, scheme: str, width: int, height: int, scale: int) -> Page:
    """The page in a window of that size."""
    viewport = {"width": width, "height": height}
    tab = browser.new_page(viewport=viewport, color_scheme=scheme, device_scale_factor=scale)
    tab.goto(path.as_uri())
    tab.wait_for_selector("body[data-ready]")
    return tab


def choose(tab: Page, name: str) -> None:
    """Show a model by its full name."""
    tab.fill("#search", name)
    tab.press("#search", "Enter")
    tab.wait_for_selector("#panel .path")
    tab.fill("#search", "")
    tab.evaluate("() => document.activeElement.blur()")
    tab.wait_for_timeout(300)


def main() -> None:
    """Command line."""
    graph = ModelGraph.load(sys.argv[1])
    model = sys.argv[2] if len(sys.argv) > 2 else graph.edges[0].child
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        path = Path(name) / "page.html"
        path.write_text(page(graph), encoding="utf-8")
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            tab = opened(browser, path, scheme, 1280, 800, 1)
            choose(tab, model)
            tab.screenshot(path=IMAGES / f"page-{scheme}.png")
        tab = opened(browser, path, "light", 1280, 1400, 1)
        choose(tab, model)
        tab.locator("#panel").screenshot(path=IMAGES / "page-evidence.png")
        tab = opened(browser, path, "light", 390, 700, 1)
        tab.screenshot(path=IMAGES / "page-phone.png")
        browser.close()
    for image in IMAGES.glob("page-*.png"):  # flat colours: a palette is a third of the bytes
        Image.open(image).quantize(255, dither=Image.Dither.NONE).save(image, optimize=True)


if __name__ == "__main__":
    main()
