"""Folders that several test files read."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Baichuan2-13B folder; nobody changes it."""
    from tests.engine.models.small import small

    folder = tmp_path_factory.mktemp("whole") / "baichuan"
    small("baichuan2-13b").save_pretrained(folder)
    return folder
