"""`python -m tools bench`: command.py reads the command line; each other module measures one kind of thing."""
