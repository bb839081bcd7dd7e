"""What the networks learn from and by: batches, objectives, validation, pictures."""
