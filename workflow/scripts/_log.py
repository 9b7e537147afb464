"""What every script of a rule does first: write its output to the job's log.

The log is opened before the other imports, so that a failing import is logged too.
"""

import os
import sys
from pathlib import Path


def open_log(path: str) -> None:
    """Send everything that this process and those that it starts print to a file, written anew."""
    sys.path.append(str(Path(__file__).parent))
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
    os.dup2(2, 1)
