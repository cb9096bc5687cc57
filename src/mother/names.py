"""Names that strangers chose, spelled so that nothing acts on them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: what a terminal may act on: controls, formats, surrogates, the unassigned, line breaks
_ACTING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
#: what shows nothing: spaces, and letters that are drawn as one
_BLANK = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
#: what a spreadsheet takes for the start of a formula, and the apostrophe that keeps it from it
_STARTING = ("=", "+", "-", "@", "'", "＝", "＋", "－", "＠")
#: what stands before a number, and the number
_DIGITS = re.compile(r"([^0-9]*)([0-9]+)")
#: what is a cell as it is: nearly all are, and tables have millions
_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./:|() -]*")
_SPELLED = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[tnr])")


def printable(name: str) -> str:
    r"""A name with control, direction and surrogate characters spelled out; and all of it, where
    nothing would show.

    >>> print(printable("a\x1b[31mb\u202e"), printable("  "))
    a\x1b[31mb\u202e \x20\x20
    """
    if all(unicodedata.category(c) == "Zs" or c in _BLANK for c in name):
        return "".join(_code(c) for c in name)
    return "".join(map(_harmless, name))


def shortened(name: str, most: int) -> str:
    """The two ends of a long name: what tells relatives apart mostly stands last.

    >>> shortened("organisation/model-7b-instruct-v2", 20)
    'organisati…struct-v2'
    """
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"


def counted(name: str) -> tuple[tuple[str, int, str], ...]:
    """A key that sorts names in the order of the numbers in them.

    >>> sorted(["step-1000", "step-500", "last"], key=counted)
    ['last', 'step-500', 'step-1000']
    """
    parts = _DIGITS.findall(name)
    # numbers of any length: the longer one without its zeros is the larger one
    keys = ((text, len(n.lstrip("0")), n.lstrip("0")) for text, n in parts)
    return (*keys, (name, 0, ""))


def spelled(name: str, also: str = "") -> str:
    r"""The same so that it can be undone: a backslash is spelled out, too, and so is what `also`
    lists.

    >>> print(spelled("a\\b\n=<c>", also="<>"))
    a\x5cb\n=\x3cc\x3e
    """
    if not also and name.isascii() and name.isprintable() and "\\" not in name:
        return name  # nearly all are; letter by letter takes twenty times as long
    return "".join(_code(c) if c == "\\" or c in also else _harmless(c) for c in name)


def guarded(text: str) -> str:
    """Text with an apostrophe before it where a spreadsheet would take it for a formula, or where
    it starts with one. https://owasp.org/www-community/attacks/CSV_Injection

    >>> guarded("=1+1"), guarded("mit")
    ("'=1+1", 'mit')
    """
    return f"'{text}" if text.lstrip().startswith(_STARTING) else text


def spreadsheet(text: str) -> str:
    r"""A cell of a CSV file: spelled, guarded, and in quotes where it holds what separates cells.

    >>> print(spreadsheet('a, "b" c'), spreadsheet("=1+1"))
    "a, ""b"" c" '=1+1
    """
    return text if _PLAIN.fullmatch(text) else _cell(text)


@lru_cache(maxsize=1 << 14)
def _cell(text: str) -> str:
    text = guarded(spelled(text))
    if any(c in text for c in ',;"'):
        return '"' + text.replace('"', '""') + '"'
    return text


def unspelled(text: str) -> str:
    r"""The name that was spelled so.

    >>> unspelled(spelled("a\\b\n\u202e")) == "a\\b\n\u202e"
    True
    """
    short = {r"\t": "\t", r"\n": "\n", r"\r": "\r"}
    return _SPELLED.sub(lambda m: short.get(m[0]) or chr(int(m[0][2:], 16)), text)


def _harmless(character: str) -> str:
    if unicodedata.category(character) not in _ACTING:
        return character
    return character.encode("unicode_escape", "replace").decode()


def _code(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
