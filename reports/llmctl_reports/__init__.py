"""Logs to records, alignment, statistics, tables and pictures."""
