"""What is stated and what is inferred, cell by cell; the two are never mixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mother.attributes.table import Value
from mother.names import spreadsheet

if TYPE_CHECKING:
    import pandas

HEAD = ("model", "attribute", "status", "value", "probability", "low", "high", "why")


class Cell(NamedTuple):
    """One attribute of one model.

    status: "stated", "inferred" or "not known". value: None if that is not known. probability: of
    the value, of the whole set, or that the number lies from `low` to `high`; None where it is
    stated. why: which relatives say so; of what is stated, where.
    """

    model: str
    attribute: str
    status: str
    value: Value | None = None
    probability: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Attribute:
    """An attribute as a whole. kind: category, set, number or text. told: how many models state it.
    bits: by how much relatives narrow it down, in bits a model, found by hiding each that is stated
    from itself; None where that can't be told. says: the same in words."""

    name: str
    kind: str
    told: int
    bits: float | None
    says: str


@dataclass(frozen=True)
class Inferred:
    """Cells by attribute, each in the order of the graph's models. strangers: ids of the table that
    the graph does not hold. faults: files that could not be read, in a line each."""

    attributes: tuple[Attribute, ...]
    columns: Sequence[Iterable[Cell]] = field(repr=False)
    strangers: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Cell]:
        for column in self.columns:
            yield from column

    def to_csv(self) -> Iterator[str]:
        """Lines of a CSV with the columns of `HEAD`, CRLF at their ends, sets separated by "; ".
        What a spreadsheet would take for a formula has an apostrophe before it."""
        yield ",".join(HEAD) + "\r\n"
        for cell in self:
            figures = (cell.probability, cell.low, cell.high)
            yield (
                ",".join(
                    (
                        spreadsheet(cell.model),
                        spreadsheet(cell.attribute),
                        cell.status,
                        as_text(cell.value),
                        *("" if x is None else f"{x:.6g}" for x in figures),
                        spreadsheet(cell.why),
                    )
                )
                + "\r\n"
            )

    def to_frame(self) -> pandas.DataFrame:
        """The same as a pandas.DataFrame; sets are tuples."""
        import pandas

        rows = [[getattr(cell, name) for name in HEAD] for cell in self]
        return pandas.DataFrame(rows, columns=list(HEAD))


def as_text(value: Value | None) -> str:
    """A value as a cell of a spreadsheet.

    >>> as_text(("en", "fr")), as_text(1e-5), as_text(None), as_text("=1+1")
    ('en | fr', '1e-05', '', "'=1+1")
    """
    if value is None:
        return ""
    if isinstance(value, tuple):
        return spreadsheet(" | ".join(value))
    return f"{value:.6g}" if isinstance(value, float) else spreadsheet(value)
