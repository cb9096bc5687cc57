"""A population of trainings: small trees drawn at random, to fit the method on and to judge it."""
