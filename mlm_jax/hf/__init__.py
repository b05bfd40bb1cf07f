"""Weights to and from the Hugging Face ecosystem."""
