"""`python -m llmctl`."""

from llmctl.cli.app import main

main()
