"""Names that strangers chose, spelled so that nothing acts on them."""

from __future__ import annotations

import re
import unicodedata

#: what a terminal may act on: controls, formats, surrogates, the unassigned, line breaks
_ACTING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SPELLED = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[tnr])")


def printable(name: str) -> str:
    r"""A name with control, direction and surrogate characters spelled out.

    >>> print(printable("a\x1b[31mb\u202e"))
    a\x1b[31mb\u202e
    """
    return "".join(_escape(c) if unicodedata.category(c) in _ACTING else c for c in name)


def spelled(name: str, also: str = "") -> str:
    r"""The same so that it can be undone: a backslash is spelled out, too, and so is what `also`
    lists.

    >>> print(spelled("a\\b\n=<c>", also="<>"))
    a\x5cb\n=\x3cc\x3e
    """
    return "".join(_code(c) if c == "\\" or c in also else printable(c) for c in name)


def unspelled(text: str) -> str:
    r"""The name that was spelled so.

    >>> unspelled(spelled("a\\b\n\u202e")) == "a\\b\n\u202e"
    True
    """
    short = {r"\t": "\t", r"\n": "\n", r"\r": "\r"}
    return _SPELLED.sub(lambda m: short.get(m[0]) or chr(int(m[0][2:], 16)), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "replace").decode()


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\U{number:08x}"
