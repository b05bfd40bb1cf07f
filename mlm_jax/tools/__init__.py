"""What one wants to know of a run without running it."""
