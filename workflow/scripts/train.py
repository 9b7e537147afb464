"""Train an arm; started once for each rank, by torchrun when there are several."""

import argparse
import json
from pathlib import Path

from vidreason.artifacts.files import read_json
from vidreason.config.settings import TrainingSpec
from vidreason.training.distributed import ending_together
from vidreason.training.files import TrainingFiles
from vidreason.training.train import train

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--spec", type=Path, required=True, help="resolved spec of the arm")
parser.add_argument("--runtime", type=json.loads, required=True, help="how it runs on this machine, as JSON")
parser.add_argument("--init", type=Path, required=True, help="checkpoint folder to start from")
parser.add_argument("--questions", type=Path, required=True, help="questions to train on")
parser.add_argument("--validation", type=Path, help="questions held out; for GRPO")
parser.add_argument("--frames", type=Path, nargs="+", required=True, help="frame tables")
parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
parser.add_argument("--metrics", type=Path, required=True, help="training curves to write")
parser.add_argument("--rollouts", type=Path, help="rollouts of some steps to write; for GRPO")
parser.add_argument("--timing", type=Path, help="what every step cost, to write")
parser.add_argument("--state", type=Path, required=True, help="folder of saved states; survives a failure")
args = parser.parse_args()

spec = TrainingSpec.of(read_json(args.spec))
files = TrainingFiles(
    spec=args.spec,
    init=args.init,
    questions=args.questions,
    validation=args.validation,
    frames=tuple(args.frames),
    checkpoint=args.out,
    metrics=args.metrics,
    rollouts=args.rollouts,
    timing=args.timing,
    state=args.state,
)
with ending_together():
    train(spec, spec.runtime_of(args.runtime), files)
