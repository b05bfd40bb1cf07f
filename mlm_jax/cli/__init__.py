"""The command line: a table of commands, and what they do, by theme."""
