"""Trees over indices: candidates, spanning trees, roots, moves, latent ancestors, bootstrap."""
