"""Trained models at work: held-out loss, mask filling, embeddings."""
