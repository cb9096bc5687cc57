"""What the shell's TAB offers."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def files(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """For what may also be an address on the Hub, and is looked at when it is opened."""
    return [CompletionItem(begun, type="file")]
