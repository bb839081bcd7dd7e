"""What a segmenter learns from synthetic scans: the protocol of the paper's Table 3."""
