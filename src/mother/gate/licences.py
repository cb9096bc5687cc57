"""Which licences a model may carry, given those of its ancestors.

A table from a licence to the licences that its descendants may carry. It is a reading of the
licences' terms on derived works for a machine to hold on to, and no legal advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

#: stands for the ancestor's own licence in the table
SAME = "same"
ANY = "*"
_OFFERS = re.compile(r"\s+(?:and|or)\s+")
_COPYLEFT = ("gpl-3.0*", "agpl-3.0*")
#: identifiers of the Hub's, https://huggingface.co/docs/hub/repositories-licenses, as patterns
DEFAULT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "afl-3.0",
            "apache-2.0",
            "bsd*",
            "bsl-1.0",
            "cc-by-?.?",
            "cc0-1.0",
            "cdla-permissive-*",
            "isc",
            "mit*",
            "ms-pl",
            "ncsa",
            "odc-by",
            "pddl",
            "postgresql",
            "unlicense",
            "wtfpl",
            "zlib",
        ),
        (ANY,),
    ),
    "agpl*": ("agpl*",),
    "gpl*": ("gpl*", "agpl*"),
    "lgpl*": ("lgpl*", "gpl*", "agpl*"),
    "mpl-*": ("mpl-*", "lgpl*", "gpl*", "agpl*"),
    "cc-by-sa-*": ("cc-by-sa-*", *_COPYLEFT),
    "cc-by-nc-*": ("cc-by-nc-*",),
    "cc-by-nc-sa-*": ("cc-by-nc-sa-*",),
    "cc-by-nd-*": (),
    "cc-by-nc-nd-*": (),
    "apple-amlr": (SAME,),
    "bigscience-bloom-rail-*": (SAME, "*openrail*"),
    "deepfloyd-if-license": (SAME,),
    "fair-noncommercial-research-license": (SAME,),
    "gemma": (SAME,),
    "llama*": (SAME,),
    "*openrail*": ("*openrail*",),
}


def normalised(licence: str) -> str:
    """A licence's identifier as the table has it.

    >>> normalised(" Apache-2.0")
    'apache-2.0'
    """
    return licence.strip().casefold()


def terms(licence: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """What descendants may carry; None where the table does not know the licence. Of several
    patterns that fit, the longest holds.

    >>> terms("cc-by-nc-sa-4.0", DEFAULT), terms("house-rules", DEFAULT)
    (('cc-by-nc-sa-*',), None)
    """
    fitting = [pattern for pattern in table if _fits(licence, pattern)]
    return table[max(fitting, key=lambda p: (len(p), p))] if fitting else None


def _fits(licence: str, pattern: str) -> bool:
    """A wildcard reaches over no space: cc-by-nc-* is not "cc-by-nc-4.0 or mit"."""
    if pattern == ANY:
        return True
    return fnmatchcase(licence, pattern) and len(licence.split()) == len(pattern.split())


def permits(ancestor: str, child: str, table: Mapping[str, tuple[str, ...]]) -> bool | None:
    """Whether a derived work may carry `child`; None where the table can't tell.

    >>> permits("mit", "llama2", DEFAULT), permits("llama2", "mit", DEFAULT)
    (True, False)
    >>> permits("cc-by-nd-4.0", "cc-by-nd-4.0", DEFAULT)
    False
    >>> permits("house-rules", "mit", DEFAULT) is None, permits("llama2", "mine", DEFAULT) is None
    (True, True)

    Of an expression like "mit or gpl-3.0", a child may carry what it may carry each part of.

    >>> permits("gpl-3.0", "mit or gpl-3.0", DEFAULT), permits("mit", "mit or gpl-3.0", DEFAULT)
    (False, True)
    """
    allowed = terms(ancestor, table)
    if ancestor == child and allowed is None:
        return True
    if allowed is None:
        return None
    if any(child == ancestor if p == SAME else _fits(child, p) for p in allowed):
        return True
    offered = _OFFERS.split(child)
    if len(offered) > 1 and terms(child, table) is None:
        each = {permits(ancestor, licence.strip("()"), table) for licence in offered}
        return False if False in each else None if None in each else True
    return False if terms(child, table) is not None else None


def restricts(licences: Iterable[str], table: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether one of them does not leave descendants every licence, as far as the table tells.

    >>> restricts(["mit"], DEFAULT), restricts(["mit", "gpl-3.0"], DEFAULT)
    (False, True)
    """
    return any(ANY not in (terms(licence, table) or (ANY,)) for licence in licences)
