"""A checkpoint of this project as a model of lmms-eval, so that it runs on every video task that harness has.

lmms-eval finds it by the entry point `vidreason` of the group `lmms_eval.models`:

    python -m lmms_eval --model vidreason --model_args pretrained=results/demo/train_grpo/r1/seed0/checkpoint --tasks videomme

Source: the registry of models and the chat interface of EvolvingLMMs-Lab/lmms-eval, version 0.7.3:
lmms_eval/models/registry_v2.py, lmms_eval/api/model.py, lmms_eval/api/task.py (`ConfigurableMessagesTask`).
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from vidreason.artifacts.digests import sha256_text
from vidreason.engine.ask import FRAMES, load
from vidreason.engine.batch_inference import complete
from vidreason.engine.generation import Decoding, rollout_seed
from vidreason.engine.oom import out_of_memory_advice
from vidreason.engine.prompts import max_prompt_length, prompt_length, query_text
from vidreason.models.families import compute_device
from vidreason.records import OK, PROMPT_TOO_LONG, ClipRef, Completion, Question
from vidreason.results.release.arm_weights import arm_folder
from vidreason.results.release.judges import LMMS_EVAL_MISSING
from vidreason.results.release.judges.harness_requests import (
    READERS,
    UNANSWERED_TEXT,
    Frames,
    RequestError,
    decoding_of,
    frames_of,
    output_of,
    read_turn,
    settings_of,
    trained_question,
)
from vidreason.tasks.base import task_of
from vidreason.tasks.prompt_templates import evaluation_query

try:
    from lmms_eval.api.model import lmms as _Model
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "lmms_eval":
        raise
    _Model = object  # the class says what is missing once it is used

ANSWER_TYPE = "multiple_choice"
"""Whose instruction follows a task's text: that of the training questions."""
UNUSABLE_CLIP = "unusable_clip"


def manifest() -> Any:
    """The entry point's payload."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("vidreason", chat_class_path=f"{__name__}.{VidReason.__name__}")


@dataclass(frozen=True)
class _Prepared:
    """A request that can be answered.

    Attributes:
        place: Its place among the requests.
        where: Task and document.
        question: Its id in this project; None where no reader knows the task.
        prompt: Its whole prompt.
        ids: The prompt's ids, int64 [T].
        frames: What the model looks at.
        decoding: How the task wants it answered.
        until: Texts at which its answer is cut.
    """

    place: int
    where: str
    question: str | None
    prompt: str
    ids: torch.Tensor
    frames: Frames
    decoding: Decoding
    until: Sequence[str]


class VidReason(_Model):
    """A checkpoint that answers the requests of lmms-eval.

    Frames are taken by the evaluation's rule; the prompt is the task's text with the instruction of the answer style behind it.
    """

    is_simple = False

    def __init__(self, **arguments: object) -> None:
        """Load the checkpoint.

        Args:
            arguments: `--model_args` and the options that the harness adds; see `Settings`.

        Raises:
            RequestError: An argument cannot be used, lmms-eval is not installed, or there are several processes.
            CheckpointError: The folder is no checkpoint that can be used.
        """
        if _Model is object:
            raise RequestError(LMMS_EVAL_MISSING)
        super().__init__()
        self.settings = settings = settings_of(arguments)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise RequestError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}: this model runs in one process; start lmms-eval without a launcher"
            )
        device = compute_device().type
        if settings.device is not None and settings.device.partition(":")[0] != device:
            raise RequestError(f"device is {settings.device}, the model runs on {device}; leave out --device")
        known = arm_folder(settings.pretrained)
        frames = settings.frames or (known.frames() if known else None) or FRAMES
        style = settings.style or (known.style if known else None) or "reason"
        self.reasoner = load(settings.pretrained, settings.precision, frames, style)
        if settings.log is not None:
            Path(settings.log).write_text("", encoding="utf-8")

    @property
    def batch_size(self) -> int:
        """Requests answered together."""
        return self.settings.batch_size

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not supported: a reasoning model's answer has no likelihood before its thought is known."""
        names = ", ".join(sorted({request.task_name for request in requests}))
        raise NotImplementedError(
            f"tasks {names}: this model generates answers and computes no likelihood of given ones; choose tasks of the output type "
            f"generate_until"
        )

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not supported: the model answers one turn."""
        names = ", ".join(sorted({request.task_name for request in requests}))
        raise NotImplementedError(
            f"tasks {names}: this model answers one turn; choose tasks of the output type generate_until"
        )

    @torch.no_grad()
    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The outputs of the requests, in their order.

        Raises:
            RequestError: A request cannot be used; with `unusable=wrong` only where no file or prompt is to blame.
            MemoryError: A batch does not fit into memory.
        """
        outputs = [UNANSWERED_TEXT] * len(requests)
        met: Counter[str] = Counter()
        with tqdm(total=len(requests), desc="vidreason", unit="request", mininterval=5) as bar:
            for start in range(0, len(requests), self.batch_size):
                chunk = requests[start : start + self.batch_size]
                prepared = [row for place, one in enumerate(chunk, start) if (row := self._prepare(place, one))]
                for batch in _alike(prepared):
                    for row, completion in zip(batch, self._complete(batch, met), strict=True):
                        outputs[row.place] = output_of(
                            completion.text, self.reasoner.style, self.settings.output, row.until
                        )
                        self._log(row.where, OK, row, completion)
                for place, request in enumerate(chunk, start):
                    context, generation = request.args[0], request.args[2]
                    self.cache_hook.add_partial("generate_until", (context, generation), outputs[place])
                bar.update(len(chunk))
        return outputs

    def _prepare(self, place: int, request: Any) -> _Prepared | None:
        """Prompt and frames of a request; None for one that cannot be answered and counts as wrong."""
        _, messages, generation, number, task, split = request.args
        record, where = self.task_dict[task][split][number], f"{task}:{number}"
        turn = read_turn(messages(record), where)
        model, style = self.reasoner.model, self.reasoner.style
        decoding = decoding_of(generation, self.settings, style, where)
        question = trained_question(task, record, number)
        if self.settings.prompt == "trained":
            if question is None:
                known = ", ".join(READERS)
                raise RequestError(f"task {task}: prompt=trained knows the records of {known} only; use prompt=task")
            query = query_text(question, style, training=False)
        else:
            query = evaluation_query(turn.text, task_of(ANSWER_TYPE).instruction(style))
        prompt = model.prompt_text(query)
        ids = model.text_ids(prompt)
        length, room = prompt_length(ids, model), max_prompt_length(model, 1)
        try:
            if length > room:
                raise RequestError(
                    f"{where}: the prompt has {length} positions, video included, and the model has room for {room}; leave the task "
                    f"out, or count such questions as wrong with --model_args unusable=wrong"
                )
            frames = frames_of(turn, where, self.reasoner.frames, model.frame_size)
        except RequestError:
            if self.settings.unusable == "error":
                raise
            self._log(where, PROMPT_TOO_LONG if length > room else UNUSABLE_CLIP)
            return None
        stops = generation.get("until") or ()
        until = [stops] if isinstance(stops, str) else stops
        return _Prepared(place, where, question.id if question else None, prompt, ids, frames, decoding, until)

    def _complete(self, batch: Sequence[_Prepared], met: Counter[str]) -> list[Completion]:
        """Answer a batch whose requests are decoded alike; the counts tell repetitions of a request apart."""
        model = self.reasoner.model
        questions = [Question(row.where, "", "", "", ClipRef(row.frames.key)) for row in batch]
        clips = {question.clip.key: row.frames.pixels for question, row in zip(questions, batch, strict=True)}
        longest = max(prompt_length(row.ids, model) for row in batch)
        decoding = batch[0].decoding
        decoding = replace(decoding, max_new_tokens=min(decoding.max_new_tokens, model.max_positions - longest))
        seeds = []
        for row in batch:
            seeds.append(rollout_seed(0, "lmms_eval", row.where, met[row.where]))
            met[row.where] += 1
        advice = (
            f"{len(batch)} requests with {self.reasoner.frames} frames each and prompts of up to {longest} positions; lower --batch_size, "
            f"now {self.batch_size}"
        )
        with out_of_memory_advice(advice):
            stacked = torch.from_numpy(np.stack(list(clips.values())))
            found = complete(model, questions, [row.ids for row in batch], stacked, decoding, seeds=seeds)
        fields = (found.texts(model.tokenizer), found.lengths.tolist(), found.finished.tolist())
        return [Completion(*values) for values in zip(*fields, strict=True)]

    def _log(self, where: str, status: str, row: _Prepared | None = None, completion: Completion | None = None) -> None:
        """Write what was asked and answered, where a log is wanted."""
        if self.settings.log is None:
            return
        task, _, number = where.rpartition(":")
        entry: dict[str, Any] = {"task": task, "document": int(number), "status": status}
        if row is not None and completion is not None:
            entry |= {
                "question": row.question,
                "video": row.frames.key,
                "frames": row.frames.indices.tolist(),
                "prompt": row.prompt,
                "prompt_sha256": sha256_text(row.prompt),
                "text": completion.text,
                "tokens": completion.tokens,
                "finished": completion.finished,
            }
        with Path(self.settings.log).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _alike(rows: Sequence[_Prepared]) -> Iterator[list[_Prepared]]:
    """The rows in groups that are decoded alike."""
    for decoding in dict.fromkeys(row.decoding for row in rows):
        yield [row for row in rows if row.decoding == decoding]
