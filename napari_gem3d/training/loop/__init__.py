"""The loop that every stage shares: steps, processes, checkpoints, stopping, reports."""
