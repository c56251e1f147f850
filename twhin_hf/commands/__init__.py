"""The command line: one mechanism, and a function for each command."""
