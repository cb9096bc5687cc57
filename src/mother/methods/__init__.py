"""The methods that recover a forest from what was measured."""
