"""llmctl: run LLM training over plain SSH, and report it against a reference."""

__version__ = "0.1.0"
