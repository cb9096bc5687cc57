"""The view of a graph, live, with a JSON API beside it. Needs the extra `serve`."""

from mother.server.app import application
from mother.server.guard import names_of

__all__ = ["application", "names_of"]
