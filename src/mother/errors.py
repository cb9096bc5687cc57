"""What can go wrong.

MotherError
├── InputError        bytes, paths or names from outside that we refuse
└── UsageError        options that contradict each other or the input
"""

from __future__ import annotations

from os import PathLike


class MotherError(Exception):
    """Base of every error that mother raises on purpose; its text is one line."""

    __module__ = "mother"  # where users find it, and tracebacks name it


class InputError(MotherError):
    """A file is not what it claims to be, or can't be read.

    >>> print(InputError("a.safetensors", "header claims 9 bytes, the file has 4"))
    a.safetensors: header claims 9 bytes, the file has 4

    others: what else was refused, where nothing is left of several inputs.
    """

    __module__ = "mother"

    def __init__(
        self, path: str | PathLike[str], fault: str, others: tuple[InputError, ...] = ()
    ) -> None:
        self.path = str(path)
        self.fault = fault
        self.others = others
        super().__init__(f"{self.path}: {fault}")


class UsageError(MotherError):
    """The options given can't be carried out on this input."""

    __module__ = "mother"
