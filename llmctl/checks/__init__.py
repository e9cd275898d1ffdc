"""What is asked of nodes, how it is parsed, and how it is judged."""
