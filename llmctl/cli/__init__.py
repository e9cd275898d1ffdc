"""Typer commands: arguments in, one workflow call, tables out."""
