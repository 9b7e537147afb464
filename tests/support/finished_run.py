"""A run that has finished, written by hand: every file that its results are made again from, with sidecars, and no weights or frames."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.configs import demo
from tests.support.gallery_run import rollout
from tests.support.sampled_run import samples_of
from tests.support.scored_run import BENCHMARKS, predictions_of, questions_of, write_clips, write_selection, write_truth
from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.files import write_json, write_jsonl
from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import environment, write_sidecar
from vidreason.config import job_inputs, paths
from vidreason.config.run import Run
from vidreason.evaluation.leaks import COUNTS, LEAKS
from vidreason.records import ClipStatus, Completion, Grade, KeptRollout, Prediction, StepTiming
from vidreason.results.gallery.thumbnails import INDEX, Strip, picture_of

CHANGES: dict[str, Any] = {
    "run": "small",
    "evaluation": {"benchmarks": list(BENCHMARKS)},
    "arms": {"sft": None, "r1": {"label": "R1 <ours> & co"}},
    "controls": dict.fromkeys(("thinks", "direct", "gray", "text", "permuted", "no_gold"))
    | {"shuffled": {"of": ["r1"], "label": "shuffled"}},
    "datasets": {name: {"shards": {"predict": 2}} for name in BENCHMARKS},
}


def small_run(**changes: Any) -> Run:
    """The demo with four arms and two benchmarks in two shards each."""
    return demo(**{**CHANGES, **changes})


def write_finished(run: Run) -> None:
    """Write a finished run, as `small_run`, below the current folder."""
    values: dict[str, Any] = {"run": run.run, "seed": 0}
    written = [write_truth(Path(paths.TRUTH.format(**values)))]
    for benchmark in run.evaluation.benchmarks:
        path = Path(paths.QUESTIONS.format(dataset=benchmark, **values))
        write_jsonl(path, questions_of(benchmark))
        written.append(path)
        for arm in run.arms:
            _write_answers(run, arm, benchmark, predictions_of(arm, benchmark))
        for arm in run.sampled_arms():
            shards, rows = job_inputs.samples(run, arm, 0, benchmark), samples_of(arm, benchmark)
            for number, shard in enumerate(shards):
                write_jsonl(shard, rows[number :: len(shards)])
                write_sidecar(shard, [], {"settings": job_inputs.answer_sampling(run)}, ["vidreason.records"])
    written += [*_write_training(run), _write_thumbnails(run)]
    for path in written:
        write_sidecar(path, [], {}, ["vidreason.records"])
    for name in run.used_datasets():
        for path in job_inputs.frames(run, name):
            _pretend(path)
    for arm in ("base", "coldstart", "r1"):
        _pretend(job_inputs.weights(run, arm, 0))
        if arm != "base":
            write_json(paths.SPEC.format(arm=arm, **values), job_inputs.training_spec(run, arm, 0))
    write_csv(paths.cost("train_grpo").format(arm="r1", **values), ["s"], [["12.5"]])
    step = StepTiming(0, 2.0, {"sample": 1.0}, 40, 30, 40.0, 15.0)
    write_jsonl(paths.GRPO_TIMING.format(arm="r1", **values), [step])


def _write_answers(run: Run, arm: str, benchmark: str, answers: list[Prediction]) -> None:
    own = run.arms[arm]
    params = {
        "settings": run.evaluation.generation.model_dump(mode="json"),
        "style": own.style,
        "view": own.shown_view,
        "options": job_inputs.option_edit(run, arm),
    }
    shards = job_inputs.predictions(run, arm, 0, benchmark)
    for number, shard in enumerate(shards):
        write_jsonl(shard, answers[number :: len(shards)])
        write_sidecar(shard, [], params, ["vidreason.records"])


def _write_training(run: Run) -> list[Path]:
    """What filters, readers, decoders, selection and trainings counted and measured."""
    root = Path(f"results/{run.run}")
    hand_made = root / "by_hand"
    selection = write_selection(hand_made)
    folder = root / "select_by_variance/r1/seed0"
    folder.mkdir(parents=True)
    written = [path.rename(folder / path.name) for path in selection.values()]
    write_clips(hand_made)
    for path in (path for name in run.used_datasets() for path in map(Path, job_inputs.clips(run, name))):
        known = hand_made / "extract_frames" / path.parent.name / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if known.exists():
            known.rename(path)
        else:
            write_jsonl(path, [ClipStatus("v.mp4", "ok", 6.0, 25.0, 150, "h264")])
        written.append(path)
    for path in map(Path, job_inputs.set_aside(run)):
        write_csv(path, ["question", "video", "reason", "duration", "detail"], [["q", "v.mp4", "duplicate", "", ""]])
        written.append(path)
    for path in map(Path, job_inputs.filtered(run, "durations.csv")):
        bounds = [[0, 10, 1], [10, 20, 2], [20, 30, 3], [30, "", 4]]
        write_csv(path, ["longer_than", "up_to", "videos"], bounds)
        written.append(path)
    for path in map(Path, job_inputs.filtered(run, "clips.jsonl")):
        write_jsonl(path, [ClipStatus("long.mp4", "ok", 40.0, 25.0, 1000, "h264")])
        written.append(path)
    written += _write_leaks(run)
    for path in map(Path, job_inputs.of_arms(run, paths.GRPO_ROLLOUTS, "grpo")):
        said = Completion("<think>Wait, a ball.</think> <answer>A</answer>", 20, True)
        doubtful = [
            KeptRollout(0, "k0", index, "ordered", said, Grade(1.0, True, "A"), {}, 1.0, 0.0) for index in (0, 1)
        ]
        write_jsonl(path, [*doubtful, *(rollout(10, "k3", index, float(index)) for index in (0, 1))])
        written.append(path)
    for method in ("grpo", "sft"):
        pattern = {"grpo": paths.GRPO_CURVES, "sft": paths.SFT_CURVES}[method]
        for path in map(Path, job_inputs.of_arms(run, pattern, method)):
            rows = [{"kind": "train", "step": step, "loss": 1.0 / step, "rollouts": 16} for step in (1, 2)]
            write_jsonl(path, rows)
            written.append(path)
    for path in sorted(hand_made.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    hand_made.rmdir()
    return written


def _write_leaks(run: Run) -> list[Path]:
    """One clip of a benchmark that is a training clip, found by its name."""
    leaks, counts = (Path(pattern.format(run=run.run)) for pattern in (paths.LEAKS, paths.LEAK_COUNTS))
    write_csv(leaks, LEAKS, [["mlvu", "v.mp4", "nextqa", "v.mp4", "name", ""]])
    write_csv(counts, COUNTS, [["mlvu", "nextqa", "4", "1", "1", "0", "0", "1", ""]])
    return [leaks, counts]


def _write_thumbnails(run: Run) -> Path:
    """Three gray frames of every clip, but of one that is broken."""
    folder = Path(paths.THUMBNAILS.format(run=run.run))
    folder.mkdir(parents=True)
    strips = []
    for number, benchmark in enumerate(run.evaluation.benchmarks):
        for place, clip in enumerate(dict.fromkeys(one.clip.key for one in questions_of(benchmark))):
            file = f"{number}_{place:05d}.webp"
            strip = Strip(benchmark, clip, file, 3, (0.0, 1.0, 2.0))
            strips.append(strip if place else Strip(benchmark, clip, why="the clip has none: truncated"))
            if place:
                (folder / file).write_bytes(picture_of(np.full((3, 8, 8, 3), 40 * place, dtype=np.uint8)))
    write_jsonl(folder / INDEX, strips)
    return folder


def _pretend(artifact: str) -> None:
    """The sidecar of weights or frames that were removed."""
    known = {"artifact": artifact, "sha256": "ab" * 32, **environment(), "commit": "c" * 40}
    write_json(sidecar_of(artifact), known)
