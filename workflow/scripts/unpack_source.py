"""Unpack the needed members of a source's archives. Not a `script:`, so editing it unpacks nothing again."""

import argparse
import json
import sys
from pathlib import Path

from vidreason.sources.lock import EXPECTED, Source
from vidreason.sources.unpack import unpack_source

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("name", help="name of the source")
parser.add_argument("--settings", type=json.loads, required=True, help="its entry of the configuration, as JSON")
parser.add_argument("--fetched", type=Path, required=True, help="list of its files")
parser.add_argument(
    "--out", type=Path, required=True, help="list of the unpacked files, to write into the source's folder"
)
parser.add_argument(
    "--delete-archives", type=json.loads, required=True, help="true removes each archive when it is unpacked"
)
args = parser.parse_args()

try:
    unpack_source(Source.of(args.name, args.settings), args.fetched, args.out.parent, args.out, args.delete_archives)
except EXPECTED as error:
    sys.exit(str(error))  # the text says what to do; a traceback would hide it
