"""`python -m tools bench`: how fast and how large, measured on real nodes of this machine.

Machines differ and are noisy: read ratios of one run, not digits of two. Aims are those of the project's product
description.
"""
