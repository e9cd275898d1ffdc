"""What prepared.json is called and which form it has. Standard library only: the launcher reads it too."""

from __future__ import annotations

ABOUT = "prepared.json"
"""Tells what a prepared folder is; see `prepared`."""
SUMMARY = "data_summary.json"
"""In a run's output: what its engine tells of the data."""
SCHEMA = 2
"""Goes up when ABOUT takes another form."""
RECORDED = ("key", "examples", "tokens", "label_tokens", "packing", "packs", "files")
"""What the record of a run keeps of ABOUT: which bytes it trained on."""
