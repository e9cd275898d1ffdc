"""Single files that are sent to nodes: standard library, Python 3.6."""
