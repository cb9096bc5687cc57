"""Families of models that others trained: what is documented about them, and what is found."""
