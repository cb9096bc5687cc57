"""The YAML front matter of a model card, as far as it is names and lists of names.

Model cards: https://huggingface.co/docs/hub/model-cards. The text is read as a stream of YAML
events: nothing is constructed, no alias is followed, nothing recurses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mother.checkpoints.storage import File
from mother.checkpoints.tensor import clean

if TYPE_CHECKING:
    import yaml

#: bytes of a card within which its front matter must end; tables of results can make it long
MAX_FRONT_MATTER = 1 << 20
MAX_DEPTH = 32
MAX_EVENTS = 100_000
MAX_VALUE = 1000
#: values of one key that are kept
MAX_VALUES = 100
_MARK = b"---"
_NOTHING = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True)
class Entry:
    """A value and the line, from 1, that it stands on."""

    value: str
    line: int


def read_front_matter(file: File) -> dict[str, list[Entry]]:
    """The scalars under each key of a card's front matter, those of lists one by one.

    Empty where there is no front matter. Whatever follows it is not read. Raises InputError.
    """
    start = file.read(0, min(file.size, MAX_FRONT_MATTER))
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise file.fault("the card is not UTF-8")
    lines = start.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    first = next((k for k, line in enumerate(lines) if line.strip()), 0)
    if lines[first].rstrip() != _MARK:
        return {}
    import yaml

    last = next((k for k in range(first + 1, len(lines)) if lines[k].rstrip() == _MARK), None)
    if last is None:
        raise file.fault(f"the card's front matter does not end within {MAX_FRONT_MATTER} bytes")
    if any(line.startswith(b"%") for line in lines[first + 1 : last]):
        # each is compared with all before it
        raise file.fault("the card's front matter has a directive, which no card needs")
    try:
        text = b"\n".join(lines[first + 1 : last]).decode("utf-8")
        return _entries(text, first + 2)
    except UnicodeDecodeError:
        raise file.fault("the card's front matter is not UTF-8") from None
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f" in line {mark.line + first + 2}" if mark else ""
        raise file.fault(f"the card's front matter is not YAML{where}") from None
    except ValueError as error:
        raise file.fault(f"the card's front matter {error}") from None


def _entries(text: str, line: int) -> dict[str, list[Entry]]:
    """line: the number of the text's first line. ValueError for what no card needs."""
    import yaml

    found: dict[str, list[Entry]] = {}
    key: str | None = None
    depth = 0
    kept = True
    for event in first_document(text):
        at = line + (event.start_mark.line if event.start_mark else 0)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"has an alias in line {at}")
        if isinstance(event, yaml.CollectionStartEvent):
            if depth == 0 and not isinstance(event, yaml.MappingStartEvent):
                raise ValueError("holds no keys")
            if depth == 1 and key is None:
                raise ValueError(f"has a key that is no name in line {at}")
            depth += 1
            kept = depth == 1 or (depth == 2 and isinstance(event, yaml.SequenceStartEvent))
            if depth > MAX_DEPTH:
                raise ValueError(f"is nested deeper than {MAX_DEPTH} in line {at}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            kept = depth == 1
            key = None if depth == 1 else key
        elif isinstance(event, yaml.ScalarEvent) and depth == 1 and key is None:
            key = clean(event.value[:MAX_VALUE])
            if key in found:
                raise ValueError(f"has the key {key!r} twice, in line {at}")
            found[key] = []
        elif isinstance(event, yaml.ScalarEvent) and key is not None:
            nothing = not event.style and event.value in _NOTHING
            if kept and not nothing and len(found[key]) < MAX_VALUES:
                found[key].append(Entry(clean(event.value[:MAX_VALUE]), at))
            key = None if depth == 1 else key
    return found


def first_document(text: str) -> Iterator[yaml.Event]:
    """The events of a text's first YAML document. ValueError where there are too many, YAMLError
    where it is none."""
    import yaml

    # the parser of libyaml where PyYAML was built with it: the same events, some ten times sooner
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for number, event in enumerate(yaml.parse(text, Loader=loader)):
        if isinstance(event, yaml.DocumentEndEvent):
            return
        if number >= MAX_EVENTS:
            raise ValueError(f"has more than {MAX_EVENTS} parts")
        yield event
