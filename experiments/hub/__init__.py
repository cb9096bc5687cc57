"""A hub that never was: sketches drawn from a Brownian phylogeny, whose truth is known."""
