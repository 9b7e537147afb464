"""Train an SFT arm; started once for each rank, by torchrun when there are several."""

import argparse
import json
import os
from pathlib import Path

from vidreason.artifacts.files import read_json
from vidreason.artifacts.provenance import fingerprint, write_sidecar
from vidreason.training.state import discard_states
from vidreason.training.distributed import ending_together
from vidreason.training.sft import train_sft

MODULES = ("vidreason.training.sft",)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--spec", type=Path, required=True, help="resolved spec of the arm")
parser.add_argument("--running", type=json.loads, required=True, help="how it runs on this machine, as JSON")
parser.add_argument("--init", type=Path, required=True, help="checkpoint folder to start from")
parser.add_argument("--questions", type=Path, required=True, help="questions to train on")
parser.add_argument("--frames", type=Path, nargs="+", required=True, help="frame tables")
parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
parser.add_argument("--metrics", type=Path, required=True, help="training curves to write")
parser.add_argument("--state", type=Path, required=True, help="folder of saved states; survives a failure")
args = parser.parse_args()

spec = read_json(args.spec)
inputs = [args.init, args.questions, *args.frames]
with ending_together():
    train_sft(
        spec=spec | args.running | {"origin": fingerprint(spec, inputs, MODULES)},
        init=args.init,
        questions=args.questions,
        frames=args.frames,
        out=args.out,
        metrics=args.metrics,
        state=args.state,
    )
    if os.environ.get("RANK", "0") == "0":
        for artefact in (args.out, args.metrics):
            write_sidecar(artefact, [args.spec, *inputs], spec | args.running, MODULES)
        discard_states(args.state)
