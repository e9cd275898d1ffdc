"""Recipe and plan to files; pure."""
