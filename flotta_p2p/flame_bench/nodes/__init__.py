"""Flame nodes that are measured; each file is a program of its own."""
