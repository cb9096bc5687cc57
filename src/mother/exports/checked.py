"""What `mother check --json` found of a graph's models, to stand beside them in a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from mother.errors import InputError
from mother.graph.documents import read_json

SCHEMA = "mother.check/1"
LARGEST = 1 << 28
#: SPDX's own spelling of what the Hub writes in small letters, https://spdx.org/licenses/
_IDS = {
    id_.casefold(): id_
    for id_ in (
        *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC"),
        *("CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0"),
        *("CC-BY-NC-ND-4.0", "CC-BY-3.0", "CC-BY-SA-3.0", "CC-BY-NC-3.0", "MPL-2.0", "Unlicense"),
        *("AFL-3.0", "MS-PL", "NCSA", "ODC-By-1.0", "PDDL-1.0", "WTFPL", "Zlib", "ECL-2.0"),
    )
}


@dataclass(frozen=True)
class Checked:
    """Of one model: the licences that it states, those that bind it with who states them, and what
    the weights say of its claims."""

    licences: tuple[str, ...]
    binding: tuple[tuple[str, str, bool], ...]
    verdict: str
    reason: str


def read(path: str | PathLike[str]) -> Mapping[str, Checked]:
    """By model, from the file that `mother check --json -o` wrote. InputError if it is none."""
    content = read_json(path, LARGEST)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(path, f"is no report of mother check: it has no schema {SCHEMA}")
    try:
        return {
            str(m["id"]): Checked(
                tuple(filter(None, (str(x).strip() for x in m["licences"]))),
                tuple(
                    (str(b["licence"]), str(b["model"]), bool(b["sure"]))
                    for b in m["binding"]
                    if str(b["licence"]).strip()
                ),
                str(m["verdict"]),
                str(m["reason"]),
            )
            for m in content["models"]
        }
    except (KeyError, TypeError) as fault:
        raise InputError(path, f"a report with a broken part ({fault})") from None


def spdx_id(licence: str) -> str | None:
    """SPDX's identifier of a licence, None where it has none of that name.

    >>> spdx_id("apache-2.0"), spdx_id("llama2")
    ('Apache-2.0', None)
    """
    return _IDS.get(licence.casefold())


def expression(licences: tuple[str, ...]) -> str:
    """An SPDX licence expression of them all; those that SPDX does not know as LicenseRef.

    >>> expression(("mit", "llama 2", "模型"))
    'MIT AND LicenseRef-llama-2 AND LicenseRef-u6a21-u578b'
    """
    named = [spdx_id(x) or f"LicenseRef-{_idstring(x)}" for x in licences]
    return " AND ".join(dict.fromkeys(named))


def _idstring(text: str) -> str:
    """In the characters that SPDX allows; those of other alphabets by their numbers."""
    ascii_ = text.encode("ascii", "backslashreplace").decode("ascii")
    plain = re.sub("[^A-Za-z0-9.-]+", "-", ascii_).strip("-")
    return plain or "-".join(f"u{ord(x):04x}" for x in text)
