"""Samples of layers, their replicates, and how they grow where a decision is in doubt."""
