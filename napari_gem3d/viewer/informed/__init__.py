"""The informed slice: which scan gives it, or that the model draws it."""
