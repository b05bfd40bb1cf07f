"""Pre-training of text encoders by masked language modelling."""

__version__ = "0.1.0"
