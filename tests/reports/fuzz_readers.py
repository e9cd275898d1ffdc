"""Coverage-guided fuzzing of the sniffer and of every reader: `make fuzz MINUTES=60`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llmctl_reports"]):
    from tests.reports.reader_properties import check

HERE = Path(__file__).parent


def one(data: bytes) -> None:
    """One file."""
    check(data)


def main(minutes: float, found: Path) -> None:
    """Fuzz for some minutes, from the corpus that is kept; what is new and what fails is written to a folder."""
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={round(minutes * 60)}",
        "-max_len=4096",
        "-len_control=20",
        "-timeout=20",
        "-rss_limit_mb=2000",
    ]
    options += [f"-dict={HERE / 'fuzz.dict'}", f"-artifact_prefix={found}/failed-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(found), str(HERE / "corpus")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
