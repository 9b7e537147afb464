"""Fetch and verify the files of a source that are needed. Not a `script:`, so editing it fetches nothing again."""

import argparse
import json
import signal
import sys
from pathlib import Path

from vidreason.sources.lock import EXPECTED, Source
from vidreason.sources.fetch import fetch_source

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("name", help="name of the source")
parser.add_argument("--settings", type=json.loads, required=True, help="its entry of the configuration, as JSON")
parser.add_argument("--lock", type=Path, required=True, help="its lock")
parser.add_argument(
    "--out", type=Path, required=True, help="list of the fetched files, to write into the source's folder"
)
args = parser.parse_args()

# A file is complete or absent, so there is nothing to clean up: Ctrl-C need not wait for downloads to end.
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fetch_source(Source.of(args.name, args.settings), args.lock, args.out.parent, args.out)
except EXPECTED as error:
    sys.exit(str(error))  # the text says what to do; a traceback would hide it
