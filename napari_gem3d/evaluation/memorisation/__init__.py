"""Whether synthetic scans are copies of training scans.

`audit.audit` compares; `pixels` and `latents` are the distances; `verdict` says what is too near.
"""
