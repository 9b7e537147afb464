"""Compare texts, ids, label masks, rewards, advantages, parsing, questions and frame numbers with the golden data."""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from tests.golden.folder import Folder, Item, number, same, worst
from vidreason.config.settings import Rewards
from vidreason.data import mlvu, mmvu, mvbench, video_mme
from vidreason.data.registry import question_prompt
from vidreason.media import frame_rules as indices
from vidreason.models.tinyllava import template as prompts
from vidreason.models.tinyllava.tokenizer import load_tokenizer
from vidreason.records import WELL_FORMED, ClipRef, Completion, Grade, Question
from vidreason.rl import advantages, rewards
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.tasks import multiple_choice as parse
from vidreason.tasks import prompt_templates as texts
from vidreason.tasks.equivalence import matches_anywhere
from vidreason.tasks.markup import think_text

PAPERS = Rewards(
    combine="tinyllava_r1",
    penalize_wrong=True,
    terms={"accuracy": {}, "format": {"weight": 0.5}, "think_length": {"weight": 0.5, "full_at": 1200}},
)
QUESTION = Question("q", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), tuple("abcdefghij"), "A")
ADVANTAGES = 1e-5
REWARDS = 1e-6
NEAR_EQUAL = 1e-2
"""Standard deviation below which a group's advantages are mostly float32 rounding of its mean."""
NEAR_EQUAL_TOLERANCE = 2e-3


def check_template(folder: Folder) -> Iterator[Item]:
    """Strings of the chat template and the suffixes."""
    text, query = folder.json("text"), folder.json("eval")["trainer_query"]
    template = text["template"]
    slots = {
        "system": prompts.SYSTEM,
        "user": f"{prompts.USER}{{{{content}}}} ",
        "assistant": f"{prompts.ASSISTANT} {{{{content}}}}{prompts.END}",
        "image": f"{prompts.IMAGE}\n{{{{content}}}}",
        "separator": [prompts.SEPARATOR, prompts.END],
    }
    yield same("template: strings", [(key, slots[key], template[key]) for key in slots])
    marks = [("image", prompts.IMAGE_TOKEN_INDEX, text["image_token_index"])]
    yield same("template: marks", [*marks, ("ignored", prompts.IGNORE_INDEX, text["ignore_index"])])
    ours = texts.training_query(query["example_problem"], texts.instruction("reason"))
    yield same("template: training query", [("query", ours, query["example_query"])])


def check_tokens(folder: Folder) -> Iterator[Item]:
    """Prompts, ids and labels of all conversations."""
    yield from _conversations(folder, folder.tokenizer, "", "checkpoint's tokenizer")
    if folder.real_tokenizer is not None:
        yield from _conversations(folder, load_tokenizer(folder.real_tokenizer), "qwen25_", "real tokenizer")
    meta, given = folder.json("meta"), folder.tensors("inputs")
    ids = [("0", given["input_ids"]), ("1", given["input_ids_1"])]
    yield same(
        "tokens: ids of the model's inputs",
        [
            (f"prompt {key}", prompts.text_ids(folder.tokenizer, meta[f"prompt_{key}"]), row[0].tolist())
            for key, row in ids
        ],
    )


def _conversations(folder: Folder, tokenizer: PreTrainedTokenizerBase, prefix: str, name: str) -> Iterator[Item]:
    """Compare all conversations under one tokenizer."""
    texts: list[tuple[str, Any, Any]] = []
    ids: list[tuple[str, Any, Any]] = []
    labels: list[tuple[str, Any, Any]] = []
    for case in folder.json("text")["cases"]:
        label = f"{case['name']} ({case['mode']})"
        wanted = case[f"{prefix}input_ids"]
        if case["error"]:
            texts.append((label, _refused(case["messages"]), True))
        elif case["mode"] == "eval":
            text = prompts.conversation_text(case["messages"])
            texts.append((label, text, case["prompt"]))
            ids.append((label, prompts.text_ids(tokenizer, text), wanted))
        else:
            example = prompts.labelled_ids(tokenizer, case["messages"])
            ids.append((label, example.input_ids.tolist(), wanted))
            labels.append((label, example.labels.tolist(), case[f"{prefix}labels"]))
            ignored = case[f"{prefix}mismatch_all_ignored"]
            labels.append((f"{label}, all ignored", example.unmaskable, ignored))
    if not prefix:
        yield same("tokens: texts of conversations", texts)
    yield same(f"tokens: ids ({name})", ids)
    yield same(f"tokens: label masks ({name})", labels)


def _refused(messages: list[dict[str, str | None]]) -> bool:
    """Whether a conversation is refused, as upstream does."""
    try:
        prompts.conversation_text(messages)
    except ValueError:
        return True
    return False


def combined_rewards(accuracy: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Rewards of the upstream protocol from accuracies and format rewards FR, as the published data give them."""
    well_formed = (form > 0).astype(np.float64)
    columns = {"accuracy": accuracy, "format": well_formed, "think_length": 2 * form - well_formed}
    weighing = rewards.Weighing({"accuracy": 1.0, "format": 0.5, "think_length": 0.5})
    return rewards.tinyllava_r1(columns, accuracy > 0, weighing)


def check_rewards(folder: Folder) -> Iterator[Item]:
    """Rewards of the upstream protocol."""
    reward = rewards.RewardFunction(PAPERS, "upstream")
    accuracy, form, total = [], [], []
    for case in folder.json("rewards")["cases"]:
        # Completions are compared as they are: upstream's functions do not strip them, its trainer does.
        text = case["completion"]
        correct = matches_anywhere(text, case["solution"])
        grade = Grade(float(correct), correct, parts={WELL_FORMED: float(think_text(text) is not None)})
        table = reward([RolloutGroup(QUESTION, (Completion(text),), (grade,))])
        columns = {name: float(column[0]) for name, column in table.columns.items()}
        accuracy.append((case["name"], columns["accuracy"], case["accuracy_reward"]))
        form.append((case["name"], 0.5 * columns["format"] + 0.5 * columns["think_length"], case["format_reward"]))
        total.append((case["name"], float(table.total[0]), case["combined"]))
    yield same("rewards: accuracy", accuracy)
    yield worst("rewards: format", form, REWARDS)
    yield worst("rewards: combined", total, REWARDS)


def check_advantages(folder: Folder) -> Iterator[Item]:
    """Advantages of single groups and of two groups side by side."""
    data = folder.json("advantages")
    size, eps = data["G"], data["eps"]
    totals: list[tuple[str, float, float]] = []
    clear: list[tuple[str, float, float]] = []
    near: list[tuple[str, float, float]] = []
    for place, group in enumerate([*data["groups"], data["two_groups_flat"]]):
        ours = combined_rewards(np.array(group["accuracy"]), np.array(group["format"])).tolist()
        totals += [(f"group {place}", total, theirs) for total, theirs in zip(ours, group["rewards"], strict=True)]
        found = advantages.group_advantages(torch.tensor(group["rewards"]), size, eps=eps).tolist()
        rows = [(f"group {place}", ours, theirs) for ours, theirs in zip(found, group["advantages"], strict=True)]
        for start, std in zip(range(0, len(rows), size), group["std"], strict=True):
            (near if std < NEAR_EQUAL else clear).extend(rows[start : start + size])
    yield worst("advantages: rewards they start from", totals, REWARDS)
    yield worst("advantages: groups with different rewards", clear, ADVANTAGES)
    if near:
        yield worst("advantages: groups with (nearly) equal rewards", near, NEAR_EQUAL_TOLERANCE)
    noise = torch.linspace(-0.04, 0.04, size)
    group = torch.tensor(data["groups"][-1]["rewards"])
    plain, noisy = (advantages.group_advantages(group, size, eps=eps, noise=added) for added in (None, noise))
    yield number("advantages: noise is added last", float((noisy - plain - noise).abs().max()), 0.0, ADVANTAGES)


def check_parsing(folder: Folder) -> Iterator[Item]:
    """Upstream's parser, with what it would guess kept apart."""
    cases = folder.json("eval")["parse_multi_choice_response"]
    read, guessed = [], []
    for case in cases:
        label = f"{case['completion'][:40]!r} of {''.join(case['choices'])}"
        read.append((label, parse.upstream(case["completion"], case["choices"]), case["parsed"]))
        guessed.append((label, parse.upstream_guesses(case["completion"], case["choices"]), case["random_fallback"]))
    yield same("parsing: letters", read)
    yield same("parsing: answers that upstream guesses", guessed)


def check_questions(folder: Folder) -> Iterator[Item]:
    """Question strings and whole prompts of the four benchmarks."""
    data = folder.json("eval")
    for name, key in (
        ("video_mme", "videomme"),
        ("mvbench", "mvbench"),
        ("mlvu", "mlvu"),
        ("mmvu", "mmvu"),
    ):
        published = data["questions"][key]
        built = published["built"]
        # Where upstream broke off with an error, only what it had built before can be compared.
        records = published["records"][: len(built)] if published["error"] else published["records"]
        parsed = [_question(name, record) for record in records]
        asked = [
            texts.evaluation_query(question_prompt(one), texts.instruction("reason"))
            for one in parsed
            if one is not None
        ]
        wanted = [case["question"] for case in built]
        whole = [(f"question {place}", prompts.prompt_text(query), case["prompt"])
                 for place, (query, case) in enumerate(zip(asked, built, strict=True))]  # fmt: skip
        yield same(f"questions: {name}, what is asked", [("questions", asked, wanted)])
        yield same(f"questions: {name}, prompts", whole)
        if folder.real_tokenizer is not None:
            tokenizer = load_tokenizer(folder.real_tokenizer)
            pairs = [(query, case["qwen25_input_ids"]) for query, case in zip(asked, built, strict=True)]
            ids = [(query[:40], prompts.prompt_ids(tokenizer, query).tolist(), row) for query, row in pairs]
            yield same(f"questions: {name}, ids (real tokenizer)", ids)
    alone = data["questions"]["single_video_inference"]["built"]
    yield same(
        "questions: single inference",
        [("prompt", prompts.prompt_text(case["question"]), case["prompt"]) for case in alone],
    )
    yield from _choices(data["qa_template"])


def _question(name: str, record: dict[str, Any]) -> Question | None:
    """A benchmark's record as our readers read it; fields that the golden records leave out are filled in."""
    if name == "video_mme":
        return video_mme.parse_record({"duration": "short", "videoID": "v", "answer": "A", **record})
    if name == "mmvu":
        return mmvu.parse_record(record)
    if name == "mlvu":
        return mlvu.parse_record(record, next(iter(mlvu.CATEGORIES)))
    return mvbench.parse_record(record, next(task for task, kind in mvbench.CATEGORIES.items() if not kind.bounded))


def _choices(template: dict[str, Any]) -> Iterator[Item]:
    """Letters, options and gold answers."""
    for name in ("mvbench", "mlvu"):
        cases: list[tuple[str, Any, Any]] = []
        for place, case in enumerate(template[name]):
            question = _question(name, case["record"])
            if question is None:
                raise ValueError(f"{name}: record {place} was not read")
            cases += [
                (f"record {place}: question", question_prompt(question), case["question"]),
                (f"record {place}: answer", question.gold, case["answer"]),
                (f"record {place}: letters", list(question.letters), case["all_choices"]),
                (
                    f"record {place}: options",
                    dict(zip(question.letters, question.options, strict=True)),
                    case["index2ans"],
                ),
            ]
        yield same(f"questions: {name}, options and answer", cases)
    cases = []
    for place, case in enumerate(template["videomme_select_from_options"]):
        if case["error"] is None:
            question = _question("video_mme", {"question": "q", "options": case["options"]})
            cases.append((f"record {place}: letters", list(question.letters if question else ""), case["all_choices"]))
    yield same("questions: video_mme, letters", cases)


def check_frames(folder: Folder) -> Iterator[Item]:
    """Numbers of frames under all rules."""
    data = folder.json("eval")
    yield same("frames: uniform", [
        (f"{case['num']} of {case['n_frames']}",
         indices.uniform_indices(case["n_frames"], case["num"]).tolist(), case["indices"])
        for case in data["linspace_int"]
    ])  # fmt: skip
    cases = []
    for case in data["mvbench_get_index"]:
        bound = tuple(case["bound"]) if case["bound"] else None
        found = indices.segment_indices(case["max_frame"], case["fps"], case["num_frame"], bound, case["first_idx"])
        cases.append((re.sub(r", 'indices.*", "", str(case)), found.tolist(), case["indices"]))
    yield same("frames: segments", cases)
    unique, stamps = [], []
    for case in data["seek_unique_and_pts"]:
        chosen = indices.unique_indices(case["n_frames"], case["num"])
        label = f"{case['num']} of {case['n_frames']}"
        unique.append((label, chosen.tolist(), case["unique_indices"]))
        found = indices.seek_stamps(chosen, Fraction(*case["time_base"]), case["frame_rate"])
        stamps.append((f"{label} at {case['frame_rate']}", found, case["target_pts"]))
    yield same("frames: without repeats", unique)
    yield same("frames: time stamps to seek", stamps)
    yield same("frames: how many", [
        (str(case), indices.frames_to_take(case["duration_s"], case["num_frame"], case["max_frame"]),
         case["frames_to_extract"])
        for case in data["frames_to_extract_rule"]
    ])  # fmt: skip


CHECKS = (
    check_template,
    check_tokens,
    check_rewards,
    check_advantages,
    check_parsing,
    check_questions,
    check_frames,
)
