"""The configuration file of a node: `read.read_configuration` gives one record or one clear error."""
