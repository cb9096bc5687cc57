"""What weights say of pairs of models: one file a kind of evidence. Knows nothing of search."""
