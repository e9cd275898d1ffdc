"""The training engine. Runs on the nodes and needs only this folder."""
