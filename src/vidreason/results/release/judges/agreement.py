"""How lmms-eval's verdicts compare with our scores: frames, prompts, completions and right or wrong, question by question."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from vidreason.artifacts.files import read_json_lines
from vidreason.evaluation.scored_answers import read_scored
from vidreason.results.markdown import Block, Bullets, Grid, Paragraph, to_markdown
from vidreason.results.release.judges.harness_requests import Foreign, RequestError
from vidreason.results.release.judges.harness_tasks import LOG, LocalTasks

METRICS: Mapping[str, str] = {"video_mme": "videomme_perception_score", "mvbench": "mvbench_accuracy"}
"""Benchmark -> metric under which the harness logs its verdicts on it."""


@dataclass(frozen=True)
class Verdict:
    """One question as the harness and this project judged it.

    Attributes:
        task: Name of the harness's task.
        benchmark: Name of the benchmark.
        question: Id of the question.
        prompts: The harness's model got our prompt.
        frames: It looked at the frames that we look at.
        completions: It wrote what it wrote for us.
        ours: Letter that we read, and whether it is right.
        theirs: The same of the harness.
    """

    task: str
    benchmark: str
    question: str
    prompts: bool
    frames: bool
    completions: bool
    ours: tuple[str | None, bool]
    theirs: tuple[str | None, bool]

    @property
    def agree(self) -> bool:
        """Whether both count the answer as right, or both as wrong."""
        return self.ours[1] == self.theirs[1]

    @property
    def cause(self) -> str:
        """Why the verdicts, or what they are about, differ; `""` where nothing does."""
        if not self.frames:
            return "frames"
        if not self.completions:
            return "batch" if self.prompts else "prompt"
        return "" if self.ours == self.theirs else "reading"


@dataclass(frozen=True)
class OwnAnswer:
    """What this project knows about its own answer to a question: prompt, frames, completion, the letter read, right or wrong."""

    prompt_sha256: str
    frames: Sequence[int]
    text: str
    parsed: str | None
    correct: bool


def verdicts(local: LocalTasks, out: Path, own: Mapping[tuple[str, str], OwnAnswer]) -> list[Verdict]:
    """Compare what the harness logged with our own answers, question by question.

    Args:
        local: The tasks that were run.
        out: Folder of `run_harness`.
        own: Benchmark and id of a question -> our answer.

    Raises:
        RequestError: The harness left no samples of a task, or judged a question that we have not scored.
    """
    requests = {(row["task"], row["document"]): row for row in read_json_lines(out / LOG)}
    found = []
    for task, benchmark in local.tasks.items():
        logs = sorted(out.rglob(f"*_samples_{task}.jsonl"))
        if not logs:
            raise RequestError(f"{out}: lmms-eval has logged no samples of task {task}")
        for sample in read_json_lines(logs[-1]):
            number = int(sample["doc_id"])
            if (task, number) not in requests:
                raise RequestError(f"{out / LOG}: no request of task {task}, document {number}; is it of another run?")
            row = requests[task, number]
            name = row["question"]
            if (benchmark, name) not in own:
                raise RequestError(f"{out / LOG}: task {task}: {benchmark} has no scored question {name!r}")
            ours = own[benchmark, name]
            found.append(
                Verdict(
                    task=task,
                    benchmark=benchmark,
                    question=name,
                    prompts=row.get("prompt_sha256") == ours.prompt_sha256,
                    frames=row.get("frames") == list(ours.frames),
                    completions=row.get("text") == ours.text,
                    ours=(ours.parsed, ours.correct),
                    theirs=_judged(sample[METRICS[benchmark]], task),
                )
            )
    return found


def _judged(verdict: Foreign, task: str) -> tuple[str | None, bool]:
    """The letter that the harness read, where it logs one, and whether it counts as right."""
    if "score" not in verdict:
        raise RequestError(f"task {task}: lmms-eval logs no score with its verdicts: {json.dumps(verdict)[:200]}")
    read = str(verdict["pred_answer"]).strip()
    return (read if len(read) == 1 else None), bool(verdict["score"])


def own_answers(scored: Mapping[str, Path], frames: Mapping[str, Sequence[Path]]) -> dict[tuple[str, str], OwnAnswer]:
    """This project's answers of one arm and seed.

    Args:
        scored: Benchmark -> its `*.scored.jsonl`.
        frames: Benchmark -> its frame tables.

    Returns:
        Benchmark and id of a question -> our answer.
    """
    answers = {}
    for benchmark, path in scored.items():
        indices: dict[str, list[int]] = {}
        for table in frames[benchmark]:
            columns = pq.read_table(table, columns=["clip", "position", "index"]).sort_by("position").to_pydict()
            for clip, index in zip(columns["clip"], columns["index"], strict=True):
                indices.setdefault(clip, []).append(index)
        for row in read_scored(path):
            answers[benchmark, row.question.id] = OwnAnswer(
                prompt_sha256=row.prediction.prompt_sha256,
                frames=indices.get(row.question.clip.key, []),
                text=row.prediction.completion.text,
                parsed=row.grade.parsed,
                correct=row.grade.correct,
            )
    return answers


COLUMNS = (
    "task",
    "benchmark",
    "question",
    "same_frames",
    "same_prompt",
    "same_completion",
    "our_letter",
    "our_verdict",
    "their_letter",
    "their_verdict",
    "cause",
)
"""Columns of the table of `rows_of`."""
CAUSES: Mapping[str, str] = {
    "frames": "the harness's model looked at other frames",
    "prompt": "the task's prompt is not ours, and the model answered it otherwise",
    "batch": "same frames and prompt, other completion: other batches move the last bits of the logits",
    "reading": "same completion: the task reads another letter in it, or none",
}
"""`Verdict.cause` -> in words."""


def rows_of(found: Iterable[Verdict]) -> list[tuple[object, ...]]:
    """A row a question, in the order of `COLUMNS`; truths are 1 and 0."""
    return [
        (
            one.task,
            one.benchmark,
            one.question,
            *map(int, (one.frames, one.prompts, one.completions)),
            one.ours[0],
            int(one.ours[1]),
            one.theirs[0],
            int(one.theirs[1]),
            one.cause,
        )
        for one in found
    ]


def agreement(found: Sequence[Verdict]) -> str:
    """The comparison in Markdown: a row a task, and every question on which the verdicts differ, with the cause."""
    header = (
        "task",
        "questions",
        "same frames",
        "same prompts",
        "same completions",
        "right by us",
        "by lmms-eval",
        "agree",
    )
    tasks = {task: [one for one in found if one.task == task] for task in dict.fromkeys(one.task for one in found)}
    rows = []
    for task, own in {**tasks, "all": list(found)}.items():
        same = (sum(one.frames for one in own), sum(one.prompts for one in own), sum(one.completions for one in own))
        right = (sum(one.ours[1] for one in own), sum(one.theirs[1] for one in own))
        rows.append((task, *map(str, (len(own), *same, *right, sum(one.agree for one in own)))))
    blocks: list[Block] = [Grid(header, rows)]
    differing = [one for one in found if not one.agree]
    for cause, count in sorted(Counter(one.cause for one in differing).items()):
        blocks.append(Paragraph(f"{count} verdicts differ by {cause}: {CAUSES[cause]}."))
        named = [
            f"{one.benchmark} {one.question}: we read {one.ours[0]} ({_word(one.ours[1])}), lmms-eval {one.theirs[0]} "
            f"({_word(one.theirs[1])})"
            for one in differing
            if one.cause == cause
        ]
        blocks.append(Bullets(named))
    return to_markdown(blocks)


def _word(right: bool) -> str:
    return "right" if right else "wrong"
