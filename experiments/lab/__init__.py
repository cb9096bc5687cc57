"""The lab: every kind of child that people make, made by the tools they use, with its truth."""
