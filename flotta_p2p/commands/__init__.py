"""The command line `flotta-p2p`: `main.main` is its entry. docs/commands.md shows every command with an example."""
