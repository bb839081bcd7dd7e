"""The model manager: which models there are, what they are, and how more come in."""
