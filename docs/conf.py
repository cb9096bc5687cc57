"""The site: `make docs`. Pages are Markdown, as they are read in the repository too."""

import re

import mother

project = "mother"
author = "the authors of mother"
release = mother.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
exclude_patterns = ["_build"]
smartquotes = False  # what is quoted is to be typed
html_theme = "furo"
html_title = "mother"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

nitpicky = True  # a reference that leads nowhere is an error, with -W
nitpick_ignore_regex = [  # other projects', and internals that signatures name
    ("py:.*", r"(collections|concurrent|networkx|numpy|os|pathlib)\..*"),
    ("py:class", r"tuple\[.*"),
    ("py:class", r"mother\.(descent\.Step|gate\.report\.Judged|index\.newcomer\.Newcomer)"),
    ("py:class", r"mother\.(attributes\.result\.Attribute|gate\.binding\.Binding)|Value"),
    ("py:class", r"mother\.(layouts\.alignment\.Group|measures\.stream\.Measures)"),
    ("py:class", r"mother\.(graph\.descent\.Step|options\.Options)"),
    ("py:class", r"mother\.checkpoints\.tensor\.(Checkpoint|Problem)"),
    ("py:class", r"(mother\.checkpoints\.memory\.)?(Arrays|Models?|Place)"),
    ("py:class", r"(pandas\.)?DataFrame|(numpy\.typing\.)?NDArray|Array|np\..*"),
]
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]  # excerpts with … are no JSON

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True


def _as_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code` and doctests: nothing else in them is markup."""
    for k, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`[^`]+`)", line)
            parts[::2] = [re.sub(r"([*|_\\])", r"\\\1", text) for text in parts[::2]]
            parts[1::2] = [f"`{code}`" for code in parts[1::2]]
            lines[k] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", _as_text)
