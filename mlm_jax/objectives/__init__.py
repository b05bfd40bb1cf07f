"""Vectors to loss: each objective returns sums and their weight."""
