"""Builders of model graphs whose truth is known: `python -m experiments build --help`."""
