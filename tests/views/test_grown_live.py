"""The page over an index, in a browser: long lists a part at a time, and newcomers."""

from __future__ import annotations

from browsing import WINDOW, barriers, choose, ready, watched
from planted import plant, planted, star
from playwright.sync_api import expect
from serving import served

from mother.graph import ModelGraph, Node, Tree
from mother.index import Index


def test_a_large_tree_is_opened_a_part_at_a_time_and_newcomers_show(browser, tmp_path):
    folder = planted(tmp_path / "index", star(20_000))
    faults, asked = [], []
    context = browser.new_context(viewport=WINDOW)
    tab = watched(context.new_page(), faults)
    tab.on("response", lambda response: asked.append(response))
    with served(folder) as address:
        ready(tab, address)
        assert tab.inner_text("#counts") == "20,002 models · 1 tree"
        tab.focus("#tree")
        tab.keyboard.press("Home")
        tab.keyboard.press("ArrowRight")
        tree = tab.locator("#tree")
        expect(tree).to_contain_text("m000000")
        assert sum(len(r.body()) for r in asked if "/api/trees" in r.url) < 500_000
        tab.keyboard.press("End")
        expect(tree).to_contain_text("… 19,500 more")
        tab.keyboard.press("Enter")
        expect(tree).to_contain_text("m000500")
        tab.keyboard.press("End")
        expect(tree).to_contain_text("… 19,000 more")
        choose(tab, "grandchild")  # below what was not asked for yet
        expect(tab.locator("#panel")).to_contain_text("m019999")
        told = tab.inner_text("#panel")
        assert "–" not in told  # an index takes no resamplings: it says nothing of support
        assert "support" not in told.lower()
        expect(tab.locator("#panel")).to_contain_text("Architecturelike grandchild")
        assert barriers(tab) == []
        expect(tab.locator("#grown")).to_be_hidden()
        newcomer = (Node("newcomer", "/x", "npz", "a1", 1),)
        with Index(folder) as index:
            plant(index, ModelGraph("gram", newcomer, trees=(Tree("newcomer", ("newcomer",)),)))
        choose(tab, "newcomer")  # found before anything is loaded again
        expect(tab.locator("#grown")).to_be_visible()
        assert barriers(tab) == []
        tab.click("#grown")
        expect(tab.locator("#counts")).to_have_text("20,003 models · 2 trees")
        expect(tab.locator("#panel-title")).to_have_text("newcomer")  # what was looked at stays
        context.close()  # it asks every few seconds
    assert faults == []
