"""TensorFlow, told that it only feeds: accelerators belong to JAX."""

import tensorflow as tf

tf.config.set_visible_devices([], "GPU")
tf.config.set_visible_devices([], "TPU")

__all__ = ["tf"]
