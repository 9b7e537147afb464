"""lmms-eval runs the demo's R1 on its own tasks of Video-MME and MVBench, and agrees with our scores.

Needs what `make demo` leaves and, for the comparison, what `workflow/judge.py` writes.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from vidreason.config.load_runs import load_runs
from vidreason.results.release.judges.agreement import own_answers, verdicts
from vidreason.results.release.judges.harness_requests import RequestError
from vidreason.results.release.judges.harness_tasks import BENCHMARKS, run_harness, write_tasks
from vidreason.training.registered import registered

pytest.importorskip("lmms_eval", reason="in the environment of `make judge`")

ROOT = Path(__file__).parents[2]
DEMO = Path("results/demo")
CHECKPOINT = DEMO / "train_grpo/r1/seed0/checkpoint"
AGREEMENT = DEMO / "lmms_eval/r1/seed0/trained/agreement.csv"
LIMIT = 5
"""Questions a task."""


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    if not CHECKPOINT.is_dir():
        pytest.skip(f"{CHECKPOINT} is not there; run `make demo` first")
    return write_tasks(
        {name: DEMO / "make_world" / name for name in BENCHMARKS}, tmp_path_factory.mktemp("judge") / "tasks"
    )


@pytest.fixture(scope="module")
def own():
    run = load_runs([["config/sources.yaml", "config/config.yaml", "config/demo.yaml"]], [], [], registered())["demo"]
    shards = {name: range(run.datasets[name].shards.frames) for name in BENCHMARKS}
    tables = {name: [DEMO / f"extract_frames/{name}/shard{k}.parquet" for k in shards[name]] for name in BENCHMARKS}
    return own_answers({name: DEMO / f"score/r1/seed0/{name}.scored.jsonl" for name in BENCHMARKS}, tables)


def test_the_model_is_registered_by_its_entry_point() -> None:
    from lmms_eval.models import get_model

    from vidreason.results.release.judges.lmms_eval_model import VidReason

    assert get_model("vidreason") is VidReason


def test_tasks_are_the_harness_own_on_local_files(local) -> None:
    assert list(local.tasks.values()).count("mvbench") == 6
    assert list(local.tasks.values()).count("video_mme") == 1


def test_verdicts_agree_question_by_question() -> None:
    """Frames and prompts are the same ones. The harness's Video-MME knows the letters A to D; the demo's world asks with up to five."""
    if not AGREEMENT.is_file():
        pytest.skip(f"{AGREEMENT} is not there; run `make judge`")
    rows = pd.read_csv(AGREEMENT)
    assert dict(rows.benchmark.value_counts()) == {"video_mme": 180, "mvbench": 60}
    assert rows.same_frames.all()
    assert rows.same_prompt.all()
    assert rows.same_completion.sum() >= len(rows) - 1, "another batch may move the last bits of the logits"
    differing = rows[rows.our_verdict != rows.their_verdict]
    fifth_option = (differing.our_letter == "E") & (differing.benchmark == "video_mme") & (differing.cause == "reading")
    assert (fifth_option | (differing.cause == "batch")).all()
    assert len(differing) < 0.05 * len(rows)


def test_the_tasks_own_prompts_are_answered(local, own, tmp_path) -> None:
    arguments = {"pretrained": CHECKPOINT, "max_new_tokens": 72}
    run_harness(local, arguments, tmp_path, ["--limit", str(LIMIT), "--batch_size", "35"])
    found = verdicts(local, tmp_path, own)
    assert len(found) == 7 * LIMIT
    assert all(one.frames for one in found)
    assert not any(one.prompts for one in found)
    assert {one.cause for one in found if not one.agree} <= {"prompt", "reading"}
    assert sum(one.theirs[0] is not None for one in found) >= 0.8 * len(found), (
        "most answers are letters to the harness"
    )


def test_a_missing_video_stops_the_harness_or_counts_as_wrong(local, tmp_path, capfd) -> None:
    """MVBench's task hands on the path of a video that is not there."""
    (home := tmp_path / "home").mkdir()
    bare = type(local)(local.folder, home, {"local_mvbench_moving_count": "mvbench"})
    options = ["--limit", "2"]
    with pytest.raises(RequestError, match="lmms-eval ended without results"):
        run_harness(bare, {"pretrained": CHECKPOINT}, tmp_path / "stopped", options)
    said = "".join(capfd.readouterr())
    assert "local_mvbench_moving_count:0: " in said
    assert "cannot be used (missing)" in said
    run_harness(bare, {"pretrained": CHECKPOINT, "unusable": "wrong"}, tmp_path / "wrong", options)
    (log,) = (tmp_path / "wrong").rglob("*_samples_*.jsonl")
    assert log.read_text().count('"pred_answer": "unanswered", "gt_answer"') == 2


def test_the_package_says_so_where_the_harness_is_absent() -> None:
    """Without its packages on the path, as in `.venv`."""
    assert importlib.util.find_spec("lmms_eval") is not None
    script = (
        "import sys; sys.modules['lmms_eval'] = None\n"
        "from vidreason.results.release.judges.lmms_eval_model import VidReason\n"
        "VidReason(pretrained='x')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "`make judge` makes one that has it" in done.stderr.splitlines()[-1]
