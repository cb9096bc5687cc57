"""Every notebook of the docs runs from top to bottom, and shows what it says."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "docs" / "notebooks"


def run(cell, known):
    """What the last line of a cell is, if it is an expression."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), known)
    if last is not None:
        return eval(compile(ast.Expression(last.value), "cell", "eval"), known)
    return None


@pytest.fixture
def shown():
    """By notebook, what its cells show, and the names that it leaves."""
    matplotlib.use("Agg")

    def of(name):
        content = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
        cells = ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == "code"]
        known = {}
        return [run(cell, known) for cell in cells], known

    yield of
    matplotlib.pyplot.close("all")


def test_measurements(shown):
    seen, known = shown("measurements.ipynb")
    assert repr(seen[0]) == "Measurements(5 models, 8 layers, 49152 weights each)"
    related = seen[1] > 1
    assert related[:4, :4].all()
    assert not related[4, :4].any()
    figure = known["figure"]
    image = figure.axes[1].images[0].get_array()
    order = [known["measured"].ids.index(x) for x in known["tree"]["ivl"]]
    np.testing.assert_allclose(image, known["distance"][np.ix_(order, order)])
    figure.draw_without_rendering()
    assert seen[4]._repr_html_().count("<tr>") == 4
    found = set(zip(seen[5]["parent"], seen[5]["child"], strict=True))
    assert found == {("base", "chat"), ("base", "code"), ("code", "code-v2")}
    assert np.isinf(seen[6][:4, 4]).all()
