"""Backends behind the same five verbs."""
