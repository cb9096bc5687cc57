"""Copies of one model by the tools that people use, each with what its own library makes of it.

    python -m experiments.formats.writers.NAME SOURCE OUT

SOURCE is a model as transformers' folder, OUT receives a file or folder for each format, and beside
it FORMAT.told.json, which `experiments.formats.leaves` judges it by. Each library needs an
environment of its own; the docstrings say what is in it.
"""
