"""Kinship that survives relabelling: nets, what hides them, baselines, and the page."""
