"""Repositories of models on a Hugging Face Hub, of which nothing but what is asked for is read.

A repository is mirrored as a folder of sparse files: every file is there under its name and with
its size, and holds those ranges of bytes that were fetched so far. So the readers of checkpoints
need not know of the Hub, and no byte comes twice. The folder is gone when nobody reads it.
"""

from mother.hub.addresses import Address, is_address, parse
from mother.hub.repositories import Repository, mirrored, open_repositories, prepared, shown, spool

__all__ = [
    "Address",
    "Repository",
    "is_address",
    "mirrored",
    "open_repositories",
    "parse",
    "prepared",
    "shown",
    "spool",
]
