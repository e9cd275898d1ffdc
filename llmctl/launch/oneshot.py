"""A program of `onnode/` that comes over standard input, answers one request, and leaves nothing on the node."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from llmctl.errors import NodeError
from llmctl.quoting import sh_quote
from llmctl.remote.transport import Transport
from llmctl.resources import onnode_file

MARKER = "LLMCTL-JSON "


def ask(
    transport: Transport,
    program: str,
    request: Mapping[str, Any],
    *,
    python: str = "python3",
    what: str,
    timeout: float = 60,
) -> dict[str, Any]:
    """What `program` (`lease.py`) answers. Raises NodeError, which says that `what` failed, when it gives no answer or
    an `error`."""
    name = sh_quote(python)
    words = base64.b64encode(json.dumps(request).encode()).decode()
    text = onnode_file(program).read_text(encoding="utf-8")
    command = (
        f'P=$(command -v {name} || command -v python3) || {{ echo "no python3" >&2; exit 127; }}; exec "$P" -S -I -'
    )
    result = transport.run(command, stdin=f'{text}\nmain("{words}")\n'.encode(), timeout=timeout)
    _, marker, answer = result.stdout.rpartition("\n" + MARKER)
    told: dict[str, Any] = json.loads(answer) if marker else {}
    why = told.get("error") or ("" if marker else (result.stderr.strip().splitlines() or ["no answer"])[-1])
    if why:
        raise NodeError(what, where=transport.node.name, why=why)
    return told
