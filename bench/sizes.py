"""The three sizes that are measured: the demo's model, one of a few tens of millions of weights, and the paper's.

Weights and pictures are random and prompts are random words of the demo's tokenizer, so nothing is downloaded. The end token
is never sampled (see `bench.workload`): every completion has its full length, on both sides.
"""

import dataclasses
import functools
from pathlib import Path

from transformers import Qwen2Tokenizer

from vidreason.config.load_runs import load_run
from vidreason.config.optimization import GrpoRuntime
from vidreason.config.run import Run
from vidreason.config.settings import Grpo, TrainingSpec
from vidreason.config.yaml_layers import read_layer
from vidreason.models.tinyllava.build import model_config
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.training.registered import registered
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
    def spec(self) -> TrainingSpec:
        """What a training of this size computes: the demo's R1 with this size's numbers."""
        spec = demo_run().spec("r1", 0)
        settings = spec.settings
        assert isinstance(settings, Grpo)
        own = {
            "batch_size": self.questions,
            "views": settings.views.model_copy(update={"ordered": self.rollouts}),
            "sampling": settings.sampling.model_copy(update={"max_new_tokens": self.completion}),
            # Weights are of the type that they compute in, so nothing is cast.
            "optimizer": settings.optimizer.model_copy(update={"deepspeed": None, "precision": "fp32"}),
        }
        return spec.model_copy(update={"settings": settings.model_copy(update=own)})

    @property
    def runtime(self) -> GrpoRuntime:
        """How a training of this size runs."""
        runtime = demo_run().runtime("r1")
        assert isinstance(runtime, GrpoRuntime)
        return runtime.model_copy(update={"gradient_checkpointing": self.recompute})


@functools.cache
def tokenizer() -> Qwen2Tokenizer:
    """The demo's tokenizer, for every size: where the vocabulary is larger, its other tokens stand for no text."""
    return build_tokenizer(WORDS, CONTEXT)


@functools.cache
def demo_run() -> Run:
    """The demo, from the files that it reads."""
    names = ("sources.yaml", "config.yaml", "demo.yaml")
    return load_run([read_layer(CONFIG / name) for name in names], registered())


def demo() -> Size:
    """The demo's model and numbers, from the files that the demo reads."""
    run, words = demo_run(), tokenizer()
    grpo = run.spec("r1", 0).settings
    assert isinstance(grpo, Grpo)
    assert run.base is not None
    return Size(
        name="demo",
        model=model_config(run.base.model, run.frames.size, len(words), words.eos_token_id),
        frames=run.frames.count,
        prompt=110,
        completion=grpo.sampling.max_new_tokens,
        rollouts=grpo.views.ordered,
        questions=grpo.batch_size,
        selection=run.selection.generation.batch_size,
        evaluation=run.evaluation.generation.batch_size,
        save_every=run.runtime("r1").save_every,
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
