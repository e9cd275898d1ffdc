"""Where errors become exit codes: a mistake is told in a few lines, a defect of ours leaves a traceback in a file."""

from __future__ import annotations

import sys
import time
import traceback

import typer
from typer import exceptions
from typer.main import get_command

from llmctl.cli.pipes import mute, unread
from llmctl.errors import ExitCode, LlmctlError
from llmctl.resources import home_dir


def run_guarded(app: typer.Typer) -> int:
    """Run the application and give its exit code. Messages go to standard error."""
    command = get_command(app)
    try:
        # Not by calling it: Typer then ends by itself, without a word, after Ctrl-C and when a pipe is closed.
        with command.make_context("llmctl", sys.argv[1:]) as context:
            result = command.invoke(context)
    except LlmctlError as error:
        print(f"llmctl: {error}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    except exceptions.Exit as error:
        return error.exit_code
    except exceptions.TyperException as error:
        where = getattr(error, "ctx", None)
        asked = where.command_path if where is not None else "llmctl"
        print(f"llmctl: {error.format_message()}\n  next: {asked} --help", file=sys.stderr)  # noqa: T201
        return int(ExitCode.USAGE)
    except (KeyboardInterrupt, EOFError, exceptions.Abort):
        print("llmctl: interrupted", file=sys.stderr)  # noqa: T201
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if unread(stream)]
        if not closed:  # it was another pipe
            return _defect()
        for stream in closed:
            mute(stream)
        return int(ExitCode.OK)
    except Exception:  # noqa: BLE001 - the one place that sees them all
        return _defect()
    return result if isinstance(result, int) else int(ExitCode.OK)


def _defect() -> int:
    path = home_dir() / "crash" / time.strftime("%Y%m%d-%H%M%S.txt", time.gmtime())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(traceback.format_exc(), encoding="utf-8")
    kind = sys.exc_info()[0]
    print(  # noqa: T201
        f"llmctl: a defect of llmctl ({kind.__name__ if kind else '?'})\n  why:  the traceback is in {path}\n"
        "  next: report it with that file",
        file=sys.stderr,
    )
    return int(ExitCode.FAILED)
