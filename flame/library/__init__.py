"""The node library: what runs in the program of a flame node."""
