"""How near synthetic scans are to real ones."""
