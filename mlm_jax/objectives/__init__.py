"""Vectors to loss: each objective returns sums and their weight."""

from mlm_jax.objectives import mlm

OBJECTIVES = {"mlm": mlm.sums}
