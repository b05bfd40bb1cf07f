"""Analyses of a run that need no training: compile checks, FLOP counts."""
