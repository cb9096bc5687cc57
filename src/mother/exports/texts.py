"""JSON as text: for people and pages, and for signatures."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

SAFE_INTEGER = 2**53 - 1


def as_json(content: Any) -> str:
    """Indented and ASCII, so that neither a terminal nor a page that holds it acts on a name.

    >>> print(as_json(["</script>"]), end="")
    [
     "\\u003c/script>"
    ]
    """
    text = json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c") + "\n"


def canonical(content: Any) -> str:
    """The one text of a JSON value, for hashing and signing: RFC 8785, for keys in ASCII and text
    without surrogates. Integers that a double can't hold become text.

    >>> canonical({"b": 1e21, "a": [1.0, 1e-7, None]})
    '{"a":[1,1e-7,null],"b":1e+21}'
    """
    if isinstance(content, dict):
        pairs = (f"{canonical(key)}:{canonical(content[key])}" for key in sorted(content))
        return "{" + ",".join(pairs) + "}"
    if isinstance(content, list | tuple):
        return "[" + ",".join(map(canonical, content)) + "]"
    if isinstance(content, float):
        return _number(content)
    if isinstance(content, int) and abs(content) > SAFE_INTEGER:
        return f'"{int(content)}"'
    return json.dumps(content, ensure_ascii=False)


def _number(value: float) -> str:
    """As ECMAScript writes it: RFC 8785, sec. 3.2.2.3."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number in JSON")
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).lstrip("0")
    # value = 0.digits * 10^point
    point = len(whole) + int(exponent or 0) - (len(whole + part) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return "0"
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def identity(content: Any) -> str:
    """A UUID that follows from the content: the same for the same, another for another."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mother:{canonical(content)}"))
