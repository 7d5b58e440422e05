"""From what a person wants to what a node runs: artifact → order → plan → tasks."""
