"""Plan, run folder, run id, states, manifest: values and paths."""
