"""A model that is too small for anything but tests, a tokenizer for it, and frame tables without videos."""

import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from tests.support.objective import OBJECTIVE
from vidreason.artifacts.files import write_jsonl
from vidreason.config.optimization import GrpoRuntime, Optimizer, Runtime
from vidreason.config.settings import Grpo, Sft, TrainingSpec
from vidreason.engine.features import clips_of, encode_clips, read_clips
from vidreason.media.extract_frames import _as_table
from vidreason.media.frame_store import FRAMES as KEY
from vidreason.media.frame_store import SCHEMA, ClipFrames, clips_path_of
from vidreason.models.families import save_checkpoint
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.records import OK, ClipRef, ClipStatus, Question
from vidreason.rl.rewards import RewardTable
from vidreason.training.files import TrainingFiles
from vidreason.training.grpo import train_grpo
from vidreason.training.sft import train_sft
from vidreason.world.tokenizer import build_tokenizer

FRAMES, SIZE = 4, 8
OPTIONS = ("red", "blue", "green")
WORDS = (
    "red", "blue", "green", "ball", "box", "kite", "goes", "left", "two", "three", "four", "so", "the", "answer", "is",
    "Which", "How", "many", "thing", "things", "colour", "comes", "right", "after", "think", "Options", "USER",
    "ASSISTANT", "A", "B", "C", "D", "<", "</", ">",
)  # fmt: skip


@functools.cache
def tokenizer():
    return build_tokenizer(WORDS, 512)


def model(seed=0, spread=0.5, width=16):
    """About 20,000 weights, vision tower frozen as in training. `spread` makes its random logits far from uniform."""
    text = {
        "vocab_size": len(tokenizer()), "hidden_size": width, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": spread, "tie_word_embeddings": True,
        "bos_token_id": tokenizer().eos_token_id, "eos_token_id": tokenizer().eos_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SIZE, "patch_size": 4,
    }  # fmt: skip
    config = {
        "connector_type": "groupresampler", "group": 3, "num_queries": 6, "num_resampler_layers": 1,
        "tokenizer_model_max_length": 512, "text_config": text, "vision_config": vision,
    }  # fmt: skip
    built = initialize(TinyLlavaConfig.from_dict(config), seed).eval()
    built.tokenizer = tokenizer()
    built.freeze_vision()
    return built


def checkpoint(folder: Path, **options) -> Path:
    save_checkpoint(model(**options), folder)
    return folder


def question(
    number, clip="a", answer="B", dataset="nextqa", options=OPTIONS, target="", text="Which colour is the ball?"
):
    return Question(
        f"q{number}", dataset, "multiple_choice", text, ClipRef(f"{clip}.mp4"), options, answer, demonstration=target
    )


def picture(seed) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)


def write_frames(path: Path, clips: Mapping[str, str]) -> Path:
    """A frame table: clip -> status; readable clips show noise of their own."""
    rows = [ClipStatus(f"{name}.mp4", status) for name, status in clips.items()]
    with pq.ParquetWriter(path, SCHEMA.with_metadata({KEY: str(FRAMES)})) as writer:
        for number, clip in enumerate(rows):
            if clip.status == OK:
                times = np.arange(FRAMES, dtype=np.float64)
                writer.write_table(_as_table(ClipFrames(clip, np.arange(FRAMES), times, picture(number))))
    write_jsonl(clips_path_of(path), rows)
    return path


def write_questions(path: Path, questions: Sequence[Question]) -> Path:
    write_jsonl(path, questions)
    return path


def weights_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def videos(count, seed=0, width=16, queries=6):
    return torch.randn(count, queries, width, generator=torch.Generator().manual_seed(seed))


def shown(model, store, questions, view="ordered", seed=0):
    """The clips of questions as the language model gets them, each encoded once: [B, Q, D]."""
    clips = clips_of(questions)
    videos = model.connect(encode_clips(model, read_clips(store, clips, view, seed)))
    return videos[[clips.index(question.clip.key) for question in questions]]


OPTIMIZER = {
    "learning_rate": 3e-3, "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "max_grad_norm": 1.0,
    "precision": "fp32", "deepspeed": None,
}  # fmt: skip
RUNTIME = {
    "gradient_checkpointing": False, "micro_batch": None, "save_every": 0, "save_minutes": 0.0, "keep_states": 2
}  # fmt: skip
GRPO = {
    "updates": 1,
    "resample": 0,
    "rollout_limit": None,
    "views": {"ordered": 4, "shuffled": 0},
    "sampling": {"temperature": 1.0, "top_k": 50, "max_new_tokens": 6},
    "rewards": {
        "combine": "tinyllava_r1", "penalize_wrong": True,
        "terms": {"accuracy": {}, "format": {"weight": 0.5}, "think_length": {"weight": 0.5, "full_at": 20}},
    },
    "advantage": {"std": "unbiased", "eps": 1e-4, "noise": 0.02},
    "objective": OBJECTIVE,
    "validation": {"every": 0, "limit": 2},
}  # fmt: skip
PLACES = {
    "rollouts": ("views", "ordered"),
    "shuffled": ("views", "shuffled"),
    "max_new_tokens": ("sampling", "max_new_tokens"),
    "rewards": ("rewards",),
    "advantage_std": ("advantage", "std"),
    "advantage_noise": ("advantage", "noise"),
    "beta": ("objective", "beta"),
    "objective": ("objective", "name"),
    "entropy": ("objective", "entropy"),
    "validate_every": ("validation", "every"),
    "validation_limit": ("validation", "limit"),
}
"""Short names that tests use for settings in a section."""


GRPO_RUNTIME = {"rollout_batch": None, "offload_reference": False, "keep_rollouts": 1}


def optimizer(**changes):
    """Settings of an optimizer."""
    return Optimizer.model_validate({**OPTIMIZER, **changes})


def runtime(**changes):
    """How a training runs; with a key of GRPO alone, how a GRPO training does."""
    if GRPO_RUNTIME.keys() & changes:
        return GrpoRuntime.model_validate({**RUNTIME, **GRPO_RUNTIME, **changes})
    return Runtime.model_validate({**RUNTIME, **changes})


def training(method, seed=0, style="reason", protocol="upstream", **changes):
    """Spec and runtime of a training; changes by the names of their settings, or by those of `PLACES`."""
    running = {**RUNTIME, **(GRPO_RUNTIME if method == "grpo" else {})}
    sections = {"epochs": 2 if method == "sft" else 1, "batch_size": 2, "optimizer": dict(OPTIMIZER)}
    sections |= copy.deepcopy(GRPO) if method == "grpo" else {}
    for name, value in changes.items():
        place = ("optimizer", name) if name in OPTIMIZER else PLACES.get(name, (name,))
        node = running if name in running else sections
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value
    kind = {"sft": Sft, "grpo": Grpo}[method]
    spec = TrainingSpec(
        arm="micro", seed=seed, method=method, style=style, data="nextqa", parent="base", protocol=protocol,
        settings=kind.model_validate(sections),
    )  # fmt: skip
    return spec, runtime(**running)


def files(folder, init, questions, frames, validation=None):
    """What a training into a folder reads and writes."""
    made = (folder / "checkpoint", folder / "metrics.jsonl", folder / "state")
    rollouts = None if validation is None else folder / "rollouts.jsonl"
    return TrainingFiles(init, questions, validation, tuple(frames), *made, rollouts, folder / "timing.jsonl")


def train(method, data, **changes):
    """Train on files; everything but the changes is small."""
    run = train_sft if method == "sft" else train_grpo
    run(*training(method, **changes), data, {"spec": f"{method} of the tests"})


def even_letters(self, groups):
    """A reward that a random model's answers differ in: the share of characters with even code points."""
    texts = [completion.text for group in groups for completion in group.completions]
    shares = [sum(ord(letter) % 2 == 0 for letter in text) / max(1, len(text)) for text in texts]
    return RewardTable({}, np.array(shares))


def letters_of_odd_questions(self, groups):
    """`even_letters`, but all answers to a question with an even number are rewarded alike."""
    table = even_letters(self, groups)
    counts = [len(group.completions) for group in groups]
    odd = np.repeat([int(group.question.id[1:]) % 2 == 1 for group in groups], counts)
    return RewardTable({}, np.where(odd, table.total, 0.5))
