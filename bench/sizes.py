"""The three sizes that are measured: the demo's model, one of a few tens of millions of weights, and the paper's.

Weights and pictures are random and prompts are random words of the demo's tokenizer, so nothing is downloaded. The end token
is never sampled (see `bench.workload`): every completion has its full length, on both sides.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from transformers import Qwen2Tokenizer

from vidreason.config.layers import merge, read_layer
from vidreason.config.optimization import GrpoRuntime
from vidreason.config.runs import resolve_arm, running_of
from vidreason.config.settings import TrainingSpec
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.models.tinyllava.factory import model_config
from vidreason.training.flat import runtime_of, training_spec_of
from vidreason.world.corpus import WORDS
from vidreason.world.tokenizer import build_tokenizer

CONFIG = Path(__file__).resolve().parents[1] / "config"
CONTEXT = 2048
"""Positions after which upstream cuts a sequence."""


@dataclasses.dataclass(frozen=True)
class Size:
    """What one size measures.

    Attributes:
        name: Its name.
        model: The model.
        frames: Frames a clip, F.
        prompt: Positions of a prompt with its video, L.
        completion: Tokens of a completion, T.
        rollouts: Completions a question, G.
        questions: Questions a step on this device, B.
        selection: Questions that our side samples rollouts of at a time.
        evaluation: Questions that our side answers at a time.
        dtype: Type of the weights, by torch's name.
        recompute: Whether training keeps few activations (gradient checkpointing).
        repeats: Times that each side is measured.
        save_every: Steps between saved states.
    """

    name: str
    model: TinyLlavaConfig
    frames: int
    prompt: int
    completion: int
    rollouts: int
    questions: int
    selection: int
    evaluation: int
    dtype: str = "float32"
    recompute: bool = False
    repeats: int = 3
    save_every: int = 200

    @property
    def flat(self) -> dict[str, Any]:
        """The configured arm's settings of GRPO, with this size's numbers."""
        own = {
            "batch_size": self.questions,
            "rollouts": self.rollouts,
            "max_new_tokens": self.completion,
            "gradient_checkpointing": self.recompute,
            "deepspeed": None,
            "precision": "fp32",  # weights are of the type that they compute in, so nothing is cast
        }
        config = _config("config.yaml", "demo.yaml")
        return resolve_arm(config, "r1", 0) | running_of(config, "r1") | own

    @property
    def spec(self) -> TrainingSpec:
        """What a training of this size computes."""
        return training_spec_of(self.flat)

    @property
    def runtime(self) -> GrpoRuntime:
        """How a training of this size runs."""
        return GrpoRuntime.model_validate(runtime_of(self.flat).model_dump())


@functools.cache
def tokenizer() -> Qwen2Tokenizer:
    """The demo's tokenizer, for every size: where the vocabulary is larger, its other tokens stand for no text."""
    return build_tokenizer(WORDS, CONTEXT)


@functools.cache
def _config(*names: str) -> dict[str, Any]:
    """Files of `config/`, merged."""
    return functools.reduce(merge, (read_layer(CONFIG / name)[1] for name in names), {})


def demo() -> Size:
    """The demo's model and numbers, from the files that the demo reads."""
    config = _config("config.yaml", "demo.yaml")
    grpo = resolve_arm(config, "r1", 0)
    words = tokenizer()
    return Size(
        name="demo",
        model=model_config(config["base"]["model"], config["frames"]["size"], len(words), words.eos_token_id),
        frames=config["frames"]["count"],
        prompt=110,
        completion=grpo["max_new_tokens"],
        rollouts=grpo["rollouts"],
        questions=grpo["batch_size"],
        selection=config["selection"]["generation"]["batch_size"],
        evaluation=config["evaluation"]["generation"]["batch_size"],
        save_every=running_of(config, "r1")["save_every"],
    )


def medium() -> Size:
    """Tens of millions of weights in about the paper's proportions."""
    text = {"hidden_size": 448, "intermediate_size": 1536, "num_hidden_layers": 8, "heads": 7, "kv_heads": 1}
    vision = {"hidden_size": 320, "intermediate_size": 1280, "num_hidden_layers": 10, "heads": 5, "image": 112}
    return Size(
        name="medium",
        model=_model(text, vision, vocabulary=8192, queries=128, resampler_layers=2, resampler_heads=5),
        frames=16,
        prompt=212,
        completion=100,
        rollouts=8,
        questions=2,
        selection=4,
        evaluation=64,
        repeats=2,
    )


def paper() -> Size:
    """SigLIP-so400m-patch14-384, 512 queries in 16 groups, Qwen2.5-3B; one question a device, as upstream's 8 GPUs have."""
    text = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "heads": 16, "kv_heads": 2}
    vision = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "heads": 16, "image": 384}
    return Size(
        name="paper",
        model=_model(text, vision, vocabulary=151_936, queries=512, resampler_layers=3, resampler_heads=8),
        frames=16,
        prompt=662,
        completion=300,
        rollouts=8,
        questions=1,
        selection=4,
        evaluation=16,
        dtype="bfloat16",
        recompute=True,
        repeats=2,
    )


SIZES = {"demo": demo, "medium": medium, "paper": paper}


def _model(
    text: dict[str, int],
    vision: dict[str, int],
    vocabulary: int,
    queries: int,
    resampler_layers: int,
    resampler_heads: int,
) -> TinyLlavaConfig:
    """A model in the keys of a published `config.json`; a head of the resampler is 64 wide, as published."""
    end = tokenizer().eos_token_id
    heads = {"num_attention_heads": text.pop("heads"), "num_key_value_heads": text.pop("kv_heads")}
    tower = {"num_attention_heads": vision.pop("heads"), "image_size": vision.pop("image"), "patch_size": 14}
    ends = {"bos_token_id": end, "eos_token_id": end}
    return TinyLlavaConfig.from_dict(
        {
            "connector_type": "groupresampler",
            "group": 16,
            "num_queries": queries,
            "num_resampler_layers": resampler_layers,
            "resampler_heads": resampler_heads,
            "tokenizer_model_max_length": CONTEXT,
            "text_config": {
                **text,
                **heads,
                **ends,
                "vocab_size": vocabulary,
                "max_position_embeddings": 32_768,
                "rope_theta": 1_000_000.0,
                "tie_word_embeddings": True,
            },
            "vision_config": {**vision, **tower},
        }
    )
