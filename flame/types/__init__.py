"""What a port may carry: types, units, and values as JSON."""
