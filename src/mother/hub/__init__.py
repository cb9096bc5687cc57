"""Models that lie elsewhere, of which nothing but what is asked for is read.

A place elsewhere is mirrored as a folder of sparse files: every file is there under its name and
with its size, and holds those ranges of bytes that were fetched so far. So the readers of
checkpoints need not know where these come from, and no byte comes twice. The folder is gone when
nobody reads it. Where models may lie, schemes.py lists.
"""

from mother.hub.addresses import Address, is_hub_address, parse
from mother.hub.credentials import credential_files
from mother.hub.mirrors import Mirror, Opened, mirrored, shown, spool
from mother.hub.repositories import prepared
from mother.hub.schemes import ground, is_address, is_fixed, opened_at, tags_of
from mother.hub.traffic import TRAFFIC

__all__ = [
    "TRAFFIC",
    "Address",
    "Mirror",
    "Opened",
    "credential_files",
    "ground",
    "is_address",
    "is_fixed",
    "is_hub_address",
    "mirrored",
    "opened_at",
    "parse",
    "prepared",
    "shown",
    "spool",
    "tags_of",
]
