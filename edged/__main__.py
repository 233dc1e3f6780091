"""`edged` and `python -m edged`."""

from __future__ import annotations

import logging
import os
import sys
import threading

for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # the workers are the parallelism; read when numpy is imported


def entry() -> None:
    """Run the command line and leave with its exit code."""
    from edged.cli import main

    code = main()
    if threading.active_count() > 1:  # one is held up in foreign code, which does not survive the interpreter's end
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    entry()
