"""Tabs of a real browser, and what a person does in them."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

#: what a window is like unless a test says otherwise
WINDOW = {"width": 1280, "height": 800}


def watched(tab: Page, faults: list[str]) -> Page:
    """The tab, of which everything that goes wrong is noted."""
    tab.set_default_timeout(60_000)
    tab.on("console", lambda message: faults.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: faults.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    return tab


def ready(tab: Page, address: str) -> Page:
    """The tab, once it shows the page."""
    tab.goto(address)
    tab.wait_for_selector("body[data-ready]")
    return tab


def choose(tab: Page, name: str) -> None:
    """A model by search, as a person would."""
    tab.fill("#search", name)
    expect(tab.locator("#matches")).not_to_be_empty()
    tab.press("#search", "Enter")
    expect(tab.locator("#panel-title")).to_have_text(name)


def press(tab: Page, *keys: str) -> None:
    """Keys, one after the other."""
    for key in keys:
        tab.keyboard.press(key)


def barriers(tab: Page) -> list[tuple[str, str]]:
    """What axe finds, however small: rule and element."""
    return [
        (found["id"], found["nodes"][0]["html"]) for found in Axe().run(tab).response["violations"]
    ]
