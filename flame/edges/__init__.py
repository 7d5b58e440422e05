"""Edges between flame nodes: what travels, how it is sent and received, and how it is watched."""
