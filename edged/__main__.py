"""`edged` and `python -m edged`."""

from __future__ import annotations

import os
import sys

for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # the workers are the parallelism; read when numpy is imported


def entry() -> None:
    """Run the command line and leave with its exit code."""
    from edged.cli import main

    sys.exit(main())


if __name__ == "__main__":
    entry()
