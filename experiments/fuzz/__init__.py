"""Readers against bytes that nobody wrote, guided by coverage."""
