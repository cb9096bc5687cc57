"""A browser for the tests of the page."""

from __future__ import annotations

import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

# how long a page takes says how busy the machine is
expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, started once; where it must be there and is not, a failure. From then on
    a loop of asyncio's runs in this thread (`serving.outcome`)."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None and not os.environ.get("MOTHER_NEEDS_BROWSER"):
        pytest.skip("without a browser: apt-get install chromium")
    assert chromium, "MOTHER_NEEDS_BROWSER is set, and there is no Chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
