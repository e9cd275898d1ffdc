"""`--allow-drift CODE`: which codes there are, and what is let through by them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from llmctl.checks.catalogue import known_codes
from llmctl.checks.facts import Finding, Severity
from llmctl.errors import UsageError


def assert_codes(codes: Sequence[str]) -> None:
    """Raise UsageError for a code that no finding can have."""
    known = known_codes()
    for code in codes:
        if code not in known:
            begun = [each for each in known if each.startswith(f"{code}.")]
            near = [*begun, *difflib.get_close_matches(code, known, n=1)][:1]
            hint = f"did you mean {near[0]}?" if near else "the codes are those of `llmctl check`, see docs/findings.md"
            raise UsageError(f"no finding has the code {code}", where="--allow-drift", hint=hint)


def let_through(found: Sequence[Finding], allowed: Sequence[str]) -> list[str]:
    """What `allowed` does here, a line for each code."""
    blocking = {finding.code for finding in found if finding.severity is Severity.ERROR}
    lines = []
    for code in dict.fromkeys(allowed):
        told = "is let through" if code in blocking else "is not needed: nothing blocks with this code"
        lines.append(f"--allow-drift: {code} {told}")
    return lines
