"""Time the page in a real browser: opening, panning, zooming, filtering; canvas against SVG.

    python -m benchmarks.page [--models 5000 50000]

Needs Chromium (Debian: apt-get install chromium) and pip install '.[browser]'. Frames are those
that the browser asks for (requestAnimationFrame), drawn without a graphics card."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from mother.graph import Edge, ModelGraph, Node, Tree, WeightFile
from mother.views.page import page
from mother.views.picture import svg

CHROMIUM = "/usr/bin/chromium"
LAYERS = tuple(f"blocks.{k}.{kind}.weight" for k in range(24) for kind in ("attn", "mlp", "norm"))
RELATIONS = ("fine-tune", "fine-tune", "fine-tune", "lora", "continuation", "quantized")

#: one step a frame, and how long each took from being asked for to being drawn
WALK = """async (step) => {
  const frames = [];
  let last = await new Promise(requestAnimationFrame);
  for (let k = 0; k < 60; k += 1) {
    step(k);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames;
}"""


def forest(models: int, trees: int, seed: int = 0) -> ModelGraph:
    """Trees that grow by random attachment, with figures on every edge."""
    rng = np.random.default_rng(seed)
    ids = [f"organisation-{k % 97}/model-{k:05}-instruct" for k in range(models)]
    files = (WeightFile("model.safetensors", 350_000_000, "0" * 64),)
    nodes = tuple(
        Node(i, f"/models/{i}", "safetensors", "a1", 86_567_656, "bfloat16", files=files)
        for i in ids
    )
    edges, members = [], [[i] for i in ids[:trees]]
    of = list(range(trees))
    for k in range(trees, models):
        up = int(rng.integers(k) * rng.random())
        of.append(of[up])
        members[of[k]].append(ids[k])
        changes = tuple(float(x) for x in rng.gamma(2, 0.02, len(LAYERS)))
        edges.append(
            Edge(
                ids[up],
                ids[k],
                RELATIONS[int(rng.integers(len(RELATIONS)))],
                "specialization",
                float(rng.gamma(2, 0.05)),
                float(rng.normal(0.1, 0.1)),
                float(rng.beta(20, 1)),
                float(rng.beta(20, 1)),
                undirected=bool(rng.random() < 0.02),
                changes=changes,
            )
        )
    grown = tuple(Tree(m[0], tuple(sorted(m))) for m in members)
    return ModelGraph("gram", nodes, tuple(edges), grown, layers={"a1": LAYERS})


Clock = Callable[[], float]


def clock(browser_page: Page) -> Clock:
    """Seconds that the page's own thread has worked: other work on the machine adds nothing."""
    session = browser_page.context.new_cdp_session(browser_page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "ThreadTime"))

    return worked


def opened(browser_page: Page, path: Path, worked: Clock) -> tuple[float, float]:
    """Seconds until the first drawing, and how many of them the page's own thread worked."""
    start = time.perf_counter()
    browser_page.goto(path.as_uri())
    browser_page.wait_for_selector("body[data-ready]", timeout=60_000)
    browser_page.evaluate("() => new Promise((r) => requestAnimationFrame(() => setTimeout(r)))")
    return time.perf_counter() - start, worked()


def frames(browser_page: Page, step: str) -> str:
    """Median and worst frame while `step` is done sixty times."""
    taken = browser_page.evaluate(f"() => ({WALK})({step})")
    return f"{statistics.median(taken):.0f} ms (95th of 100: {np.percentile(taken, 95):.0f} ms)"


#: turn the wheel over the canvas
ZOOM = """(k) => document.getElementById('canvas').dispatchEvent(new WheelEvent('wheel', {
  deltaY: k % 30 < 15 ? 240 : -240, clientX: 300, clientY: 300, cancelable: true}))"""

#: drag it
PAN = """(k) => {
  const at = {clientX: 300 + 5 * k, clientY: 300 + 8 * k, bubbles: true, view: window, buttons: 1};
  const canvas = document.getElementById('canvas');
  if (k === 0) canvas.dispatchEvent(new MouseEvent('mousedown', at));
  window.dispatchEvent(new MouseEvent('mousemove', at));
  if (k === 59) window.dispatchEvent(new MouseEvent('mouseup', at));
}"""

#: by a slider, the legend and the search, and how long until its matches are counted and drawn
FILTERS = {
    "slider": "const s = document.getElementById('support'); s.value = 30 + 7 * k;"
    " s.dispatchEvent(new Event('input'))",
    "legend": "document.querySelectorAll('#legend button')[k % 4].click()",
    "search": "const s = document.getElementById('search'); s.value = `model-0${k}`;"
    " s.dispatchEvent(new Event('input'))",
}
TIMES = 7  # of a legend of four kinds: an eighth choice would leave none
COUNTED = """async (k) => {
  const said = document.getElementById('matches');
  said.textContent = '';
  const start = performance.now();
  STEP;
  while (!said.textContent) await new Promise((r) => setTimeout(r));
  await new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
  return performance.now() - start;
}"""

#: move an SVG as a whole
MOVE = "(k) => document.querySelector('svg').setAttribute('viewBox', `${5 * k} ${8 * k} SIZE`)"
SIZED = """() => {
  const svg = document.querySelector('svg');
  svg.setAttribute('width', 1280);
  svg.setAttribute('height', 800);
}"""


def filtered(browser_page: Page, worked: Clock) -> str:
    """The median and the longest of each kind of filter, and the page's own work for one."""
    told = []
    for kind, step in FILTERS.items():
        act = COUNTED.replace("STEP", step)
        before = worked()
        taken = [browser_page.evaluate(f"(k) => ({act})(k)", k) for k in range(TIMES)]
        own = 1000 * (worked() - before) / TIMES
        middle, most = statistics.median(taken), max(taken)
        told.append(f"{kind} {middle:.0f} ms (at most {most:.0f}; work {own:.0f})")
        browser_page.fill("#search", "")
        if browser_page.is_visible("#clear"):
            browser_page.click("#clear")
    return ", ".join(told)


def measured(browser_page: Page, folder: Path, models: int) -> list[str]:
    """One row of the table."""
    graph = forest(models, max(1, models // 50))
    path = folder / f"{models}.html"
    start = time.perf_counter()
    path.write_text(page(graph), encoding="utf-8")
    built = time.perf_counter() - start
    worked = clock(browser_page)
    times = np.median([opened(browser_page, path, worked) for _ in range(3)], axis=0)
    near = frames(browser_page, PAN)
    browser_page.click("#zoom-fit")
    whole = frames(browser_page, PAN)
    browser_page.click("#zoom-fit")
    zoom = frames(browser_page, ZOOM)
    size = path.stat().st_size / 1e6
    drawn = [near, whole, zoom, filtered(browser_page, worked)]
    taken = [f"{seconds:.2f} s" for seconds in times]
    return [f"{models:,}", f"{size:.1f} MB", f"{built:.1f} s", *taken, *drawn]


def as_svg(browser_page: Page, folder: Path, models: int) -> str:
    """The same forest as SVG elements, moved as a whole: what the canvas was chosen over."""
    graph = forest(models, max(1, models // 50))
    path = folder / "svg.html"
    path.write_text(f"<!doctype html><body>{svg(graph)}", encoding="utf-8")
    start = time.perf_counter()
    browser_page.goto(path.as_uri())
    browser_page.evaluate("() => new Promise((r) => requestAnimationFrame(() => setTimeout(r)))")
    first = time.perf_counter() - start
    browser_page.evaluate(SIZED)
    near = frames(browser_page, MOVE.replace("SIZE", "1400 900"))
    whole = frames(browser_page, MOVE.replace("SIZE", "60000 120000"))
    return f"{first:.2f} s to open; {near} near, {whole} whole"


def main() -> None:
    """Print the table that docs/page.md holds."""
    parser = argparse.ArgumentParser(prog="benchmarks.page", description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[500, 5000, 50_000])
    options = parser.parse_args()
    heads = "models", "file", "written in", "first drawing", "its work", "pan", "whole", "zoom"
    print("|", " | ".join((*heads, "filter")), "|")
    print("|---" * (len(heads) + 1) + "|")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        for models in options.models:
            print(f"| {' | '.join(measured(tab, Path(name), models))} |", flush=True)
        print(f"\nSVG, 5,000 models: {as_svg(tab, Path(name), 5000)}")
        browser.close()


if __name__ == "__main__":
    main()
