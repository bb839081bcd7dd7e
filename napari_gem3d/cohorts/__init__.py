"""Whole datasets: every case a task, here, on several processes or on a cluster."""
