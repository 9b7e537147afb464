"""What runs again after which change: as little as possible, and never too little."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import TINY, Workplace, new_workplace, provenance

pytestmark = pytest.mark.workflow
SHOWN = {"make_tables", "make_figures", "report"}
RESULTS = {*SHOWN, "write_card"}
ANSWERS = {"predict", "score", *RESULTS}
LARGE = "methods: {grpo: {batch_size: 16}}"
"""A batch that many GPUs can share."""
AFTER_GRPO = {"train_grpo", "make_thumbnails", *ANSWERS}
AFTER_SELECTION = {"select_by_variance", *AFTER_GRPO}
AFTER_COLDSTART = {"train_sft", "sample_rollouts", *AFTER_SELECTION}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ("evaluation: {scoring: {parser: upstream}}", {"score", *RESULTS}),
        ("evaluation: {generation: {max_new_tokens: 9}}", ANSWERS),
        ("methods: {grpo: {optimizer: {learning_rate: 1.0e-5}}}", {"resolve_spec", *AFTER_GRPO}),
        ("arms: {r1: {objective: {beta: 0.0}}}", {"resolve_spec", *AFTER_GRPO}),
        ("arms: {r1: {label: Other words}}", SHOWN),
        ("selection: {rule: {limit: 3}}", AFTER_SELECTION),
        ("arms: {r1: {selection: {limit: 3}}}", AFTER_SELECTION),
        ("arms: {coldstart: {optimizer: {learning_rate: 2.0e-5}}}", {"resolve_spec", *AFTER_COLDSTART}),
        ("run: tiny\nseed: 0", set()),
        (
            "methods: {grpo: {runtime: {micro_batch: 1, gradient_checkpointing: true}}, sft: {runtime: {save_every: 7}}}",
            set(),
        ),
    ],
)
def test_a_changed_key_runs_only_what_uses_it(finished: Workplace, change: str, rules: set[str]) -> None:
    configs = finished.overlay("change", change)
    jobs = finished.jobs(configs=configs)
    assert set(jobs) == rules
    if "r1" in change or "grpo" in change:
        assert jobs.get("resolve_spec", 0) <= 1
        assert jobs.get("predict", 0) in (0, 16), "only r1 and its three controls answer again"


def test_one_line_adds_an_ablation_and_runs_its_own_jobs_alone(finished: Workplace) -> None:
    line = "arms: {r1_no_kl: {like: r1, label: R1 without KL, objective: {beta: 0.0}}}"
    jobs = finished.jobs(configs=finished.overlay("change", line))
    own = {"resolve_spec": 1, "select_by_variance": 1, "train_grpo": 1, "make_thumbnails": 1, "predict": 4, "score": 4}
    assert jobs == own | dict.fromkeys(RESULTS, 1)


@pytest.mark.parametrize(
    ("module", "first", "spared"),
    [
        (
            "training/select_by_variance.py",
            "select_by_variance",
            {"make_world", "extract_frames", "train_sft", "sample_rollouts"},
        ),
        ("training/grpo.py", "train_grpo", {"extract_frames", "train_sft", "sample_rollouts", "select_by_variance"}),
        ("evaluation/score.py", "score", {"predict", "train_grpo", "train_sft"}),
        ("results/figures.py", "make_figures", {"make_tables", "score", "predict"}),
        ("rl/advantages.py", "train_grpo", {"train_sft", "extract_frames"}),
    ],
)
def test_an_edited_module_runs_only_what_imports_it(
    spare: Workplace, module: str, first: str, spared: set[str]
) -> None:
    source = spare.root / "src/vidreason" / module
    text = source.read_text()
    source.write_text(text + "\n# A comment changes no result.\n")
    assert spare.jobs() == {}
    source.write_text(text + "\nEDITED = True\n")
    jobs = spare.jobs()
    assert first in jobs
    assert not spared & set(jobs)


def test_tables_come_from_cached_predictions_without_weights(spare: Workplace) -> None:
    for name in ("train_sft", "train_grpo", "pretrain_base", "state"):
        shutil.rmtree(spare.results / name, ignore_errors=True)
    before = (spare.results / "tables/main.csv").read_bytes()
    shutil.rmtree(spare.results / "tables")
    assert spare.jobs("results/tiny/tables/main.csv") == {"make_tables": 1}
    spare.run("results/tiny/tables/main.csv")
    assert (spare.results / "tables/main.csv").read_bytes() == before


def test_a_bundle_gives_the_same_tables_in_a_fresh_clone(finished: Workplace, spare: Workplace, tmp_path: Path) -> None:
    """And made again where they are, the results are those of the rules, in sidecars and in Snakemake's eyes."""
    for folder in (*spare.results.rglob("checkpoint"), spare.results / "score", spare.results / "tables"):
        shutil.rmtree(folder)
    printed = _rebuild(spare, "bundle", "--run", "tiny", "--bundle", "tiny.zip", "--configfile", *TINY)
    assert "tiny.zip: " in printed
    clone = new_workplace(tmp_path / "clone")
    printed = _rebuild(clone, "tables", "--bundle", str(spare.root / "tiny.zip"))
    assert "every score and table has the bytes that the bundle records" in printed
    made = [path for folder in ("score", "tables") for path in (finished.results / folder).rglob("*.*")]
    results = [str(path.relative_to(finished.results)) for path in made if not path.name.endswith(".provenance.json")]
    assert len(results) > 60
    for name in results:
        before = (finished.results / name).read_bytes()
        assert (spare.results / name).read_bytes() == before, name
        assert (clone.results / name).read_bytes() == before, name
    for name in (*results, "figures/accuracy.png", "report/index.html"):
        of_rule, of_rebuild = (provenance(place, f"results/tiny/{name}") for place in (finished, spare))
        for key in ("artifact", "inputs", "params", "modules", "code"):
            assert of_rebuild[key] == of_rule[key], (name, key)
    assert (clone.results / "report/index.html").is_file()
    assert spare.jobs() == {}


def _rebuild(place: Workplace, *arguments: str) -> str:
    """Call workflow/rebuild.py; return what it printed."""
    command = [sys.executable, "workflow/rebuild.py", *arguments]
    done = subprocess.run(command, cwd=place.root, env=place.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_frames_are_shared_between_runs(fresh: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDREASON_CACHE", str(tmp_path / "cache"))
    shard = "extract_frames/mmvu/shard0.parquet"
    fresh.run(f"results/tiny/{shard}")
    fresh.run(f"results/other/{shard}", "--config", "run=other")
    assert "taken from" not in (fresh.root / "logs/tiny/extract_frames/mmvu/shard0.log").read_text()
    assert "taken from" in (fresh.root / "logs/other/extract_frames/mmvu/shard0.log").read_text()
    assert (fresh.root / f"results/other/{shard}").read_bytes() == (fresh.results / shard).read_bytes()
    assert provenance(fresh, f"results/other/{shard}")["cached"] is True
    assert fresh.jobs(f"results/other/{shard}", "--config", "run=other") == {}


def test_answers_are_shared_between_folders(spare: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDREASON_CACHE", str(tmp_path / "cache"))
    files = (
        "results/tiny/sample_rollouts/coldstart/nextqa/seed0/shard0.jsonl",
        "results/tiny/predict/base/seed0/mmvu/shard0.jsonl",
    )
    before = {file: (spare.root / file).read_bytes() for file in files}
    for file in files:
        (spare.root / file).unlink()
    other = spare.copy(tmp_path / "other")
    spare.run(*files)
    other.run(*files)
    for place in (spare, other):
        assert {file: (place.root / file).read_bytes() for file in files} == before
        assert [provenance(place, file)["cached"] for file in files] == [place is other] * 2


def test_weights_alone_can_be_deleted(spare: Workplace) -> None:
    for folder in spare.results.rglob("checkpoint"):
        shutil.rmtree(folder)
    assert spare.jobs() == {}
    configs = spare.overlay("change", "evaluation: {scoring: {parser: upstream}}")
    assert set(spare.jobs(configs=configs)) == {"score", *RESULTS}


OWN = """
run: own
datasets:
  nextqa: {root: mine/nextqa}
  coldstart: {root: mine/coldstart, annotations: mine/conversations.json}
  mvbench: {root: mine/mvbench}
arms: {base: {weights: mine/weights}}
"""


@pytest.fixture
def own(fresh: Workplace) -> tuple[Workplace, tuple[str, ...]]:
    """A workplace where questions were read from folders of the user's own, and weights imported."""
    fresh.run("results/tiny/make_world/world.json", "results/tiny/pretrain_base/checkpoint")
    shutil.copytree(fresh.results / "make_world", fresh.root / "mine")
    shutil.copytree(fresh.results / "pretrain_base/checkpoint", fresh.root / "mine/weights")
    (fresh.root / "mine/coldstart/nextqa-coldstart-16.json").rename(fresh.root / "mine/conversations.json")
    configs = fresh.overlay("own", OWN)
    fresh.run(*OWN_TARGETS, configs=configs)
    assert fresh.jobs(*OWN_TARGETS, configs=configs) == {}
    return fresh, configs


OWN_TARGETS = (
    *(f"results/own/questions/{dataset}.jsonl" for dataset in ("nextqa", "coldstart", "mvbench", "mmvu")),
    "results/own/import_weights/base/checkpoint",
)


def _edit(path: Path, keep_time: bool = True) -> None:
    """Change a file in place without changing its size, and where asked for without a newer time."""
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_files_of_ones_own_are_inputs(own: tuple[Workplace, tuple[str, ...]]) -> None:
    place, configs = own
    mine = place.root / "mine"

    def jobs() -> dict[str, int]:
        return place.jobs(*OWN_TARGETS, configs=configs)

    copy = place.results.parent / "own/import_weights/base/checkpoint/model.safetensors"
    before = copy.read_bytes()
    for file, wanted in (
        ("nextqa/0_30_s_nextqa/0_30_s_nextqa_mc_qa_processed.json", {"filter_questions": 1}),
        ("mvbench/json/action_antonym.json", {"read_questions": 1}),
        ("conversations.json", {"read_questions": 1}),
        ("weights/config.json", {"import_weights": 1}),
        ("weights/model.safetensors", {"import_weights": 1}),
    ):
        path = mine / file
        content, stat = path.read_bytes(), path.stat()
        for keep_time in (True, False):
            _edit(path, keep_time)
            assert jobs() == wanted, file
            path.write_bytes(content)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert jobs() == {}
    assert copy.read_bytes() == before
    older = mine / "older"
    shutil.copy(mine / "weights/model.safetensors", older)
    _edit(older)
    os.utime(older, (1, 1))
    older.rename(mine / "weights/model.safetensors")
    assert jobs() == {"import_weights": 1}
    place.run("--touch", *OWN_TARGETS, configs=configs)
    assert jobs() == {}


def test_videos_of_ones_own_show_by_name_and_size(own: tuple[Workplace, tuple[str, ...]]) -> None:
    place, configs = own
    video = next((place.root / "mine/nextqa").rglob("*.mp4"))
    os.utime(video, (1, 1))
    assert place.jobs(*OWN_TARGETS, configs=configs) == {}
    video.write_bytes(video.read_bytes() + b"more")
    assert place.jobs(*OWN_TARGETS, configs=configs) == {"filter_questions": 1}


@pytest.mark.parametrize(
    ("artifact", "reader", "target"),
    [
        ("predict/r1/seed0/mmvu/shard0.jsonl", "score/r1/seed0/mmvu", "score/r1/seed0/mmvu.score.json"),
        ("score/r1/seed0/mmvu.score.json", "make_tables", "tables/main.csv"),
        ("tables/controls.csv", "make_figures", "figures/temporal.png"),
        (
            "sample_rollouts/coldstart/nextqa/seed0/shard0.jsonl",
            "select_by_variance/r1/seed0",
            "select_by_variance/r1/seed0/selected.jsonl",
        ),
        ("specs/r1/seed0.json", "train_grpo/r1/seed0", "train_grpo/r1/seed0/metrics.jsonl"),
        ("filter_questions/nextqa/validation.jsonl", "train_grpo/r1/seed0", "train_grpo/r1/seed0/metrics.jsonl"),
        ("train_sft/coldstart/seed0/checkpoint", "train_grpo/r1/seed0", "train_grpo/r1/seed0/metrics.jsonl"),
        ("extract_frames/mmvu/shard0.clips.jsonl", "count_missing/mmvu", "count_missing/mmvu.csv"),
        (
            "extract_frames/mmvu/shard0.parquet",
            "predict/base/seed0/mmvu/shard0",
            "predict/base/seed0/mmvu/shard0.jsonl",
        ),
        ("make_world/mmvu", "read_questions/mmvu", "questions/mmvu.jsonl"),
    ],
)
def test_a_result_that_was_edited_stops_whoever_reads_it(
    spare: Workplace, artifact: str, reader: str, target: str
) -> None:
    path = spare.results / artifact
    _edit(next(path.rglob("*.safetensors"), path / "validation.json") if path.is_dir() else path)
    rule = reader.split("/")[0]
    spare.run(f"results/tiny/{target}", "--forcerun", rule, "--allowed-rules", rule, ok=False)
    log = (spare.root / f"logs/tiny/{reader}.log").read_text()
    assert f"results/tiny/{artifact}: changed since it was made (" in log
    assert f"remove results/tiny/{artifact}.provenance.json to use it as it is" in log


def test_runs_live_side_by_side(finished: Workplace) -> None:
    other = ["--config", "run=tiny2", "seed=7", "seeds=[7]"]
    assert finished.jobs(*other)["make_world"] == 1
    assert finished.jobs("results/demo/tables/main.csv", configs=())["train_grpo"] == 1
    assert finished.jobs() == {}


def test_a_single_output_can_be_asked_for(fresh: Workplace) -> None:
    assert fresh.jobs("results/tiny/specs/r1/seed0.json") == {"resolve_spec": 1}
    assert fresh.jobs("results/tiny/questions/mlvu.jsonl") == {"make_world": 1, "read_questions": 1}


def test_a_touched_script_of_a_training_retrains_nothing(spare: Workplace) -> None:
    os.utime(spare.root / "workflow/scripts/train.py")
    assert spare.jobs() == {}


@pytest.mark.parametrize("resource", ["gpu=8", "gres=gpu:8", "gres=gpu:a100:8"])
def test_every_gpu_of_a_training_gets_a_process_however_it_is_asked_for(fresh: Workplace, resource: str) -> None:
    target = "results/tiny/train_grpo/r1/seed0/checkpoint"
    configs = fresh.overlay("large", LARGE)
    asked = ("--set-resources", f"train_grpo:{resource}")
    shown = fresh.run("--dry-run", "--printshellcmds", target, *asked, configs=configs)
    assert "--nproc_per_node 8 workflow/scripts/train.py" in shown


def test_more_gpus_than_a_batch_can_be_shared_by_are_refused_before_anything_starts(fresh: Workplace) -> None:
    target = "results/tiny/train_grpo/r1/seed0/checkpoint"
    printed = fresh.run("--dry-run", target, "--set-resources", "train_grpo:gpu=3", ok=False)
    assert "r1 would train on 3 GPUs, which its batch_size of 2 cannot be shared by evenly" in printed


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["gpu=two"], "gpu: two is not allowed; allowed: a whole number, 0 or more"),
        (["gpu=2", "gres='gpu:2'"], "gpu: 2 and gres: gpu:2 are both given"),
        (["gpus=2"], "train_grpo: no cluster is asked for `gpus`; write gpu, or gres"),
    ],
)
def test_resources_that_mean_nothing_are_refused(fresh: Workplace, asked: list[str], words: str) -> None:
    """As Snakemake hands them on; more of them are in tests/unit/config/test_gpus.py."""
    target = "results/tiny/train_grpo/r1/seed0/checkpoint"
    given = [f"train_grpo:{resource}" for resource in asked]
    assert words in fresh.run("--dry-run", target, "--set-resources", *given, ok=False)


def test_without_a_slurm_that_answers_nothing_is_submitted(
    fresh: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "bin/squeue"
    silent.parent.mkdir()
    silent.write_text("#!/bin/sh\necho Unable to contact slurm controller >&2; exit 1\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{silent.parent}{os.pathsep}{os.environ['PATH']}")
    printed = fresh.run("results/tiny/specs/r1/seed0.json", "--profile", "slurm", ok=False)
    assert "SLURM does not answer here, so nothing is submitted:\nUnable to contact slurm controller" in printed
    assert "Execute" not in printed


@pytest.mark.parametrize(
    ("rule", "asked", "words"),
    [
        ("predict", ["gpu=two"], "gpu: two is not allowed; allowed: a whole number, 0 or more"),
        ("sample_rollouts", ["gpu=1", "gres='gpu:1'"], "gpu: 1 and gres: gpu:1 are both given"),
        ("predict", ["nodes=2", "gpu=2"], "nodes: 2 with 1 GPUs on each for one process, which uses one"),
        ("sample_rollouts", ["gres='gpu:4'"], "nodes: 1 with 4 GPUs on each for one process, which uses one"),
    ],
)
def test_answering_asks_for_one_gpu_or_none(fresh: Workplace, rule: str, asked: list[str], words: str) -> None:
    given = [f"{rule}:{resource}" for resource in asked]
    assert words in fresh.run("--dry-run", "--set-resources", *given, ok=False)


def test_gpus_that_no_job_was_asked_to_use_are_said(
    fresh: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-aa)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    spec, words = "results/tiny/specs/r1/seed0.json", "This machine has 1 GPUs, and no job was asked to use one"
    assert words in fresh.run(spec)
    (fresh.root / spec).unlink()
    assert words not in fresh.run(spec, "--resources", "gpu=1", "--set-resources", "train_grpo:gpu=1")


def test_several_nodes_get_a_torchrun_each_and_the_gpus_of_one_node(fresh: Workplace) -> None:
    target = "results/tiny/train_grpo/r1/seed0/checkpoint"
    for gpus in ("gpu=16", "gres=gpu:8"):
        asked = ("--set-resources", "train_grpo:nodes=2", f"train_grpo:{gpus}")
        shown = fresh.run("--dry-run", "--printshellcmds", target, *asked, configs=fresh.overlay("large", LARGE))
        assert " srun --overlap --nodes=2 --ntasks=2 --ntasks-per-node=1 " in shown
        assert "--nnodes 2 --nproc_per_node 8 workflow/scripts/train.py" in shown


def test_the_papers_graph_grows_with_shards_and_not_with_videos(fresh: Workplace) -> None:
    shutil.rmtree(fresh.root / "config/locks", ignore_errors=True)
    jobs = fresh.jobs(configs=())
    assert jobs["extract_frames"] == 8 + 1 + 8 + 8 + 8 + 4
    assert jobs["predict"] == (4 + 14) * (8 + 8 + 8 + 2), "four arms and their controls"
    assert jobs["lock_source"] == jobs["fetch_source"] == 9
    assert sum(jobs.values()) - jobs["predict"] - jobs["sample_answers"] < 200


TIMERS = """
import pathlib, threading
class Timer(threading.Timer):
    def __init__(self, interval, function, *others):
        if function.__module__.startswith("snakemake.scheduling"):
            pathlib.Path("timers").touch()
        super().__init__(interval, function, *others)
threading.Timer = Timer
"""


@pytest.mark.parametrize(("limit", "has_timers"), [((), False), (("--max-jobs-per-timespan", "50/1s"), True)])
def test_the_default_limit_of_jobs_starts_no_timers(fresh: Workplace, limit: tuple[str, ...], has_timers: bool) -> None:
    """A timer starts a pass of the scheduler, and each pass the next timer; each job that ends adds such a chain."""
    (fresh.root / "src/sitecustomize.py").write_text(TIMERS)
    fresh.run("results/tiny/specs/r1/seed0.json", *limit)
    assert (fresh.root / "timers").exists() == has_timers
