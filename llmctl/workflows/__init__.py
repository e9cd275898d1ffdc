"""One file per command's story."""
