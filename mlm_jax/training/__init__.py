"""Loss to weights: optimizer, sharding, the step, checkpoints, the loop."""
