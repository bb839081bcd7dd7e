"""The settings of a run, typed, with presets."""
