"""Training: from a folder of scans to a bundle, headless and resumable."""
