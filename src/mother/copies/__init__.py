"""Copies of models: the same bits, converted, quantized or pruned. They are leaves."""
