"""What several corruptions are made of."""
