"""How well attributes are inferred: worlds of which all is known, methods, and their page."""
