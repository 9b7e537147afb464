"""An arm of a run judged by lmms-eval on the run's own benchmark files, compared with our scores question by question.

    make judge
    .venv-judge/bin/python workflow/judge.py --run demo --arm r1 --prompt trained

Runs in the environment .venv-judge, which has lmms-eval (docs/outside_judges.md), without a network. Writes
`results/<run>/lmms_eval/<arm>/seed<n>/<prompt>/agreement.csv`, and the harness's own results beside it.
"""

import argparse
import sys
from pathlib import Path

from vidreason.artifacts.csv_files import write_csv
from vidreason.config import job_inputs, paths
from vidreason.config.load_runs import load_runs
from vidreason.config.run import Run
from vidreason.results.release.arm_weights import find_arm
from vidreason.results.release.judges.agreement import COLUMNS, Verdict, agreement, own_answers, rows_of, verdicts
from vidreason.results.release.judges.harness_requests import PROMPTS
from vidreason.results.release.judges.harness_tasks import BENCHMARKS, run_harness, write_tasks
from vidreason.training.registered import registered

PAPER = ("config/sources.yaml", "config/config.yaml")
SHIPPED = (PAPER, (*PAPER, "config/demo.yaml"))


def judge(run: Run, arm: str, seed: int, prompt: str, options: list[str]) -> list[Verdict]:
    """Let the harness judge an arm, and compare."""
    folder = Path("results") / run.run / "lmms_eval"
    benchmarks = [name for name in run.evaluation.benchmarks if name in BENCHMARKS]
    local = write_tasks({name: Path(run.root(name)) for name in benchmarks}, folder / "tasks")
    used = dict.fromkeys(local.tasks.values())
    values = {"run": run.run, "arm": arm, "seed": seed}
    scored = {name: Path(paths.SCORED.format(benchmark=name, **values)) for name in used}
    own = own_answers(scored, {name: [Path(path) for path in job_inputs.frames(run, name)] for name in used})
    out = folder / arm / f"seed{seed}" / prompt
    arguments = {
        "pretrained": find_arm(run.run, arm, seed).folder,
        "prompt": prompt,
        "max_new_tokens": run.evaluation.generation.max_new_tokens,
        "precision": run.evaluation.generation.precision,
    }
    run_harness(local, arguments, out, ["--batch_size", str(run.evaluation.generation.batch_size), *options])
    found = verdicts(local, out, own)
    write_csv(out / "agreement.csv", COLUMNS, rows_of(found))
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo", help="name of the run")
    parser.add_argument("--arm", default="r1", help="a trained arm of the run")
    parser.add_argument("--seed", type=int, default=0, help="its seed")
    parser.add_argument("--prompt", choices=PROMPTS, default="trained", help="whose prompt the model gets")
    parser.add_argument("--configfile", nargs="+", default=[], help="the files that the run was made with")
    parser.add_argument("--limit", type=int, help="questions of each task")
    given = parser.parse_args()
    try:
        runs = load_runs(SHIPPED, [], given.configfile, registered())
        if given.run not in runs:
            raise ValueError(f"--run {given.run} is no run of this configuration; allowed: {', '.join(runs)}")
        options = ["--limit", str(given.limit)] if given.limit else []
        found = judge(runs[given.run], given.arm, given.seed, given.prompt, options)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(agreement(found), end="")


if __name__ == "__main__":
    main()
