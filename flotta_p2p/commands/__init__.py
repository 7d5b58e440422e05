"""The command line `flotta-p2p`: `main.cli` is all of it. docs/commands.md shows every command with an example."""
