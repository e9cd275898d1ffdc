"""What tools and version files say, as values: one module a family of tools. Pure.

Every parser raises ValueError for text that is not its tool's; then the fact is unknown, with that reason. Layouts and
their sources: docs/checks.md."""
