"""Write the lock of a source: its commit, and size and digest of every file. Not a `script:`, so editing it relocks nothing."""

import argparse
import json
import sys
from pathlib import Path

from vidreason.sources.lock import EXPECTED, Source, lock_source

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("name", help="name of the source")
parser.add_argument("--settings", type=json.loads, required=True, help="its entry of the configuration, as JSON")
parser.add_argument("--lock", type=Path, required=True, help="lock to write")
args = parser.parse_args()

try:
    lock_source(Source.of(args.name, args.settings), args.lock)
except EXPECTED as error:
    sys.exit(str(error))  # the text says what to do; a traceback would hide it
