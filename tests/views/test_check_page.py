"""The page of `mother check --html` in a real browser."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
from browsing import barriers, watched
from forests import HOSTILE

from mother.gate.binding import Binding
from mother.gate.page import page
from mother.gate.report import Finding, ModelVerdict, Report


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_nobody_is_kept_out_and_nothing_runs(browser, tmp_path, scheme, width):
    verdicts = cycle(("confirmed", "contradicted", "undeclared", "unknown"))
    models = tuple(
        ModelVerdict(name, Path("x"), next(verdicts), name, (), None, (), (Binding(name, name),))
        for name in HOSTILE
    )
    models = tuple(replace(model, notes=(model.id,)) for model in models)
    levels = cycle((("contradicted", "error"), ("undeclared", "warn"), ("unknown", "note")))
    findings = tuple(Finding(*next(levels), "x", text, Path(text[:99]), 2) for text in HOSTILE)
    path = tmp_path / "check.html"
    path.write_text(page(Report(models, findings, (0.03, 10**10)), "1.0"), encoding="utf-8")
    faults: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab = watched(context.new_page(), faults)
    tab.goto(path.as_uri())
    assert barriers(tab) == []
    assert tab.evaluate("() => document.documentElement.scrollWidth") == width
    assert "read 3 % of 10.0 GB" in tab.inner_text("main")
    assert tab.evaluate("() => window.owned") is None
    context.close()
    assert faults == []
