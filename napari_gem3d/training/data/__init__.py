"""Prepare: from a dataset to a plan, a split and a cache."""
