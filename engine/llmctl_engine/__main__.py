"""`python -m llmctl_engine engine.json`: one rank of a run."""

from __future__ import annotations

import sys
import traceback

from llmctl_engine import ranklog
from llmctl_engine.errors import EngineError


def main(arguments: list[str]) -> int:
    """Train as the file says; the exit code. Every failure is told in the log and in the error file."""
    if len(arguments) != 1:
        print("usage: python -m llmctl_engine engine.json", file=sys.stderr)  # noqa: T201
        return 2
    folder = ranklog.redirect()
    try:
        from llmctl_engine.config import load

        config = load(arguments[0])
        from llmctl_engine.train import train

        train(config)
        if folder is not None:
            ranklog.release(folder)
    except BaseException as error:
        if folder is not None:
            ranklog.write_error(folder, error)
        if isinstance(error, EngineError):
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
            return error.exit_code
        if isinstance(error, ImportError):
            traceback.print_exc()
            print("error: the engine needs what `pip install llmctl[engine]` installs", file=sys.stderr)  # noqa: T201
            return 1
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
