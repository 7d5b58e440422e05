"""The way out through a proxy: its address, and what is said to it until the way to a target is open."""
