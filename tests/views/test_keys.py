"""All that the page can do, by the keyboard alone, in light and dark, on a phone and at 400 %."""

from __future__ import annotations

import pytest
from browsing import barriers, press, ready, watched
from forests import family
from playwright.sync_api import expect

from mother.views.page import page as page_of

WINDOWS = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone, dark": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "dark",
        "has_touch": True,
        "is_mobile": True,
    },
    "400 %": {"viewport": {"width": 320, "height": 256}, "color_scheme": "light"},
}
MOST = 120  # stops of Tab on a page


@pytest.fixture(params=WINDOWS)
def tab(browser, tmp_path, request):
    """A page in such a window; at the end there was no error, and no request to anybody."""
    faults = []
    (tmp_path / "page.html").write_text(page_of(family()), encoding="utf-8")
    context = browser.new_context(**WINDOWS[request.param])
    tab = watched(context.new_page(), faults)
    own = ("file:", "blob:")
    tab.on("request", lambda r: None if r.url.startswith(own) else faults.append(r.url))
    yield ready(tab, (tmp_path / "page.html").as_uri())
    context.close()
    assert faults == []


#: which key leads to an element from where the keyboard is, none if it is there
WAY = """(at) => {
  const [here, there] = [document.activeElement, document.querySelector(at)];
  if (here === there) return "";
  const before = there.compareDocumentPosition(here) & Node.DOCUMENT_POSITION_FOLLOWING;
  return before && here !== document.body ? "Shift+Tab" : "Tab";
}"""


def reach(tab, selector):
    """Tab until it is there."""
    for _ in range(MOST):
        if not (key := tab.evaluate(WAY, selector)):
            return
        press(tab, key)
    raise AssertionError(f"no way to {selector} by Tab")


def act(tab, selector, key="Enter"):
    reach(tab, selector)
    press(tab, key)


def choose(tab, selector, file):
    """A file, where a button asks for one."""
    reach(tab, selector)
    with tab.expect_file_chooser() as chooser:
        # the page answers, so it knows by now that a chooser is waited for
        expect(tab.locator(selector)).to_be_focused()
        press(tab, "Enter")
    chooser.value.set_files(file)


def where(tab):
    return tab.evaluate("() => window.location.hash")


def search(tab, words):
    press(tab, "/")
    tab.keyboard.type(words)
    expect(tab.locator("#matches")).not_to_be_empty()
    press(tab, "Enter")


def test_everything(tab, tmp_path):
    width = tab.viewport_size["width"]
    said, matches, table = (tab.locator(x) for x in ("#said", "#matches", "#table"))
    tab.evaluate(
        "() => { navigator.clipboard.writeText = async (x) => { window.copied = x };"
        "window.print = () => { window.printed = true } }"
    )
    if tab.is_visible("#more"):
        act(tab, "#more")

    # from a finding to the evidence, on paper, and to its family alone
    act(tab, ".looks .sure button:last-of-type")
    expect(matches).to_have_text("2 matches")
    act(tab, "#clear")
    search(tab, "tuned")
    expect(tab.locator("#panel-title")).to_have_text("tuned")
    act(tab, ".record summary")
    expect(tab.locator(".record")).to_contain_text("mother compare /models/base /models/tuned")
    act(tab, "#print")
    assert tab.evaluate("() => window.printed")
    tab.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    act(tab, "#family")
    assert "family=base" in where(tab)
    act(tab, "#clear")
    assert "family" not in where(tab)
    press(tab, "/", "Escape")

    # legend, sliders, colours, lengths
    act(tab, "#legend [aria-label='Only lora']")
    expect(matches).to_have_text("1 match")
    assert "only=relation" in where(tab)
    act(tab, "#clear")
    act(tab, "#support", "End")
    expect(matches).to_have_text("1 match")
    act(tab, "#support", "Home")
    act(tab, "#distance", "Home")
    expect(tab.locator("#distance-said")).to_have_text("0 %")
    act(tab, "#clear")
    act(tab, "#colour", "ArrowDown")
    assert "colour=grade" in where(tab)
    act(tab, "#as-tree")
    act(tab, "#length", "Space")
    assert "length=1" in where(tab)
    press(tab, "?")
    expect(tab.locator("#keys")).to_be_visible()
    assert barriers(tab) == []
    press(tab, "Escape")

    # what is taken away: a link, a table, distances, pictures
    act(tab, "#link")
    expect(said).to_have_text("Link copied")
    act(tab, "#as-list")
    act(tab, "[data-sort=distance]")
    expect(table.locator(".c-distance[role=columnheader]")).to_have_attribute(
        "aria-sort", "ascending"
    )
    act(tab, "#copy-csv")
    expect(said).to_have_text("10 lines copied")
    act(tab, "#as-map")
    act(tab, "#copy-distances")
    expect(said).to_have_text("Distances copied")
    for selector in ("#save-svg", "#save-png"):
        reach(tab, selector)
        with tab.expect_download() as found:
            press(tab, "Enter")
        assert found.value.suggested_filename.startswith("forest.")

    # two models
    act(tab, "#as-tree")
    act(tab, "#compare")
    press(tab, "End", "Enter")
    expect(tab.locator("#panel-title")).to_have_text("Two models")
    assert "with=right" in where(tab)
    tab.go_back()
    expect(tab.locator("#panel-title")).to_have_text("tuned")
    assert barriers(tab) == []

    # what is brought: columns, another graph, the other theme
    own, graph = tmp_path / "own.csv", tmp_path / "graph.json"
    own.write_text("name,team\nbase,vision\n")
    graph.write_text(family().to_json(), encoding="utf-8")
    choose(tab, "#open-table", own)
    expect(tab.locator("#legend")).to_contain_text("vision")
    theme = tab.get_attribute("html", "data-theme")
    act(tab, "#theme")
    assert tab.get_attribute("html", "data-theme") != theme
    choose(tab, "#open-graph", graph)
    expect(tab.locator("#title")).to_have_text("graph.json")
    assert tab.evaluate("() => document.documentElement.scrollWidth") == width
