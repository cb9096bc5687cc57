"""What models hold that their files do not say, estimated from their relatives in the graph."""

from mother.attributes.inference import infer
from mother.attributes.result import Attribute, Cell, Inferred

__all__ = ["Attribute", "Cell", "Inferred", "infer"]
