"""Ways to reach nodes."""
