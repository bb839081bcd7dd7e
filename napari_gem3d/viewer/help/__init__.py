"""What the panel says about itself: the first hint, the table of shortcuts, the report for a bug."""
