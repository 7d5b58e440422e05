"""A run on disk: its folder, what is written down of it, where it comes from, how it is taken up again."""
