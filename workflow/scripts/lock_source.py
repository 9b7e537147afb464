"""Ask the hub once what a source is, and write it down. Not a `script:`, so that editing it makes no lock again."""

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
    sys.exit(str(error))  # says what to do; how it came about would only hide that
