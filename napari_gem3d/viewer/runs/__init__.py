"""Results in the viewer: their cards, comparison, export, and what is kept of them for the case of a crash."""
