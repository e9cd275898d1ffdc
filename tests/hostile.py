"""Values that break whatever hands them on without care."""

from __future__ import annotations

from hypothesis import strategies as st

SNIPPETS = (
    " ", "  a  ", "'", '"', "'; echo foo", '"; echo foo; "', "`id`", "$(id)", "$HOME", "${PATH}", "\\", "\\n", "\n",
    "\r\n", "\t", "%h", "%n", "%u", "%%", "%s", "*", "?", "[a]", "~", "!", "#", "&", "|", ";", "<", ">", "(", ")",
    "{a,b}", "=", ",", "-n", "--", "中文", "数据 集", "é", "e\u0301", "\u202e", "\ufeff", "\u2028", "\x01", "\x1b[31m",
    "\x7f", "\x81", "\U0001f600", "EOF", "\nEOF\n", "{{ x }}", "{% raw %}", "null", "yes", "1e3", "0x10", "- a", "a: b",
    "@", ":", "LLMCTL_RUN_ID=x",
)  # fmt: skip
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
values = st.one_of(ANY, st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=6).map("".join))
"""Text that the environment and the arguments of a process can hold."""
names = st.lists(
    st.sampled_from([s for s in SNIPPETS if not set(s) & set("/\n\r\x01\x1b\x7f\x81\u2028\ufeff")]),
    min_size=1,
    max_size=5,
).map(lambda parts: f"x{''.join(parts)}x")
"""Names of folders that a person could make."""


def batches(size: int) -> st.SearchStrategy[dict[str, str]]:
    """Many values at once, as variables V0, V1, ...; every snippet is among them."""
    rest = st.lists(values, min_size=size, max_size=size)
    return rest.map(lambda more: {f"V{number}": value for number, value in enumerate([*SNIPPETS, *more])})
