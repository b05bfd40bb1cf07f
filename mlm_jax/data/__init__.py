"""Text to batches. The only sub-package that may import TensorFlow."""
