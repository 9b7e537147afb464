"""Pre-training of the demo's base model, the stand-in for the published checkpoint that the paper starts from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from vidreason.config.base_model import Base, Stage
from vidreason.config.optimization import Optimizer, Runtime
from vidreason.models.base import IGNORE_INDEX, VideoLM
from vidreason.models.families import save_checkpoint
from vidreason.models.tinyllava.build import build_model
from vidreason.models.tinyllava.induction_init import init_induction_heads
from vidreason.rl.losses import sft_loss
from vidreason.training.state import Origin
from vidreason.training.trainer import Backward, Job, Metrics, Trainer
from vidreason.world.corpus import WORDS, Exercise, clip_pool, draw_exercise
from vidreason.world.encode import SIZE as DRAWN_SIZE
from vidreason.world.splits import scene_seed
from vidreason.world.tokenizer import build_tokenizer

BASE_STEP, BASE_WEIGHTS = 0xBA5E, 0xBA5F
"""Keys of the random draws, beside the run's seed."""
ROWS_AT_A_TIME = 8


def pretrain(
    out: Path,
    settings: Base,
    image_size: int,
    seed: int,
    metrics: Path,
    state: Path,
    origin: Origin,
) -> None:
    """Train the base model from scratch on clips and text from the generator.

    Args:
        out: Checkpoint folder to write.
        settings: The configuration's `base`.
        image_size: Height and width of a picture in pixels.
        seed: Seed of the run. Scenes come from the split `base`, which no file of the world shows.
        metrics: JSON lines to write.
        state: Folder of the saved training states.
        origin: What defines the run (`vidreason.artifacts.provenance.fingerprint`).
    """
    tokenizer = build_tokenizer(WORDS, settings.model.context)
    weights_seed = int(np.random.SeedSequence([seed, BASE_WEIGHTS]).generate_state(1)[0])
    model = build_model(settings.model, image_size, tokenizer, weights_seed)
    init_induction_heads(model, settings.first_weights, weights_seed)
    seeds = [scene_seed(seed, "base", number) for number in range(settings.clips)]
    scenes, frames = clip_pool(seeds, DRAWN_SIZE, image_size)

    def step_function(step: int, backward: Backward) -> Iterator[tuple[float, Metrics]]:
        rng = np.random.default_rng([seed, BASE_STEP, step])
        stage = _stage_of(settings.stages, step)
        kinds, shares = zip(*stage.mix.items(), strict=True)
        chosen = rng.choice(kinds, size=stage.batch_size, p=np.array(shares) / sum(shares))
        batch = [draw_exercise(str(kind), scenes, settings.questions_per_clip, rng) for kind in chosen]
        loss, row = exercise_loss(model, frames, batch, settings.pixel_noise, rng)
        backward(loss, True)
        yield float(loss.detach()), row

    steps = sum(stage.steps for stage in settings.stages)
    job = Job("base", steps, _optimizer(settings), _runtime(settings), metrics, state, origin)
    Trainer(model, job, step_function).fit()
    save_checkpoint(model, out)


def exercise_loss(
    model: VideoLM,
    frames: np.ndarray,
    batch: Sequence[Exercise],
    pixel_noise: float,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, Metrics]:
    """Mean cross-entropy over the replies of a batch of conversations.

    Conversations of similar length share a pass: a clip's prompt is three times as long as a look-up, and padding all rows to the
    longest would double the cost of a step.

    Args:
        model: The model.
        frames: uint8 [N, F, S, S, 3], the pool of clips.
        batch: The conversations.
        pixel_noise: Standard deviation of the noise on the pixels, in gray levels.
        rng: Draws the noise.

    Returns:
        The loss with gradient, and values to log.
    """
    examples = [model.labelled_ids(_messages(exercise.turns)) for exercise in batch]
    videos = _encode_pictures(model, frames, [exercise.pictures for exercise in batch], pixel_noise, rng)
    order = sorted(range(len(batch)), key=lambda row: len(examples[row].input_ids))
    labelled = sum(int((example.labels[1:] != IGNORE_INDEX).sum()) for example in examples)
    loss = torch.zeros(())
    for start in range(0, len(order), ROWS_AT_A_TIME):
        rows = order[start : start + ROWS_AT_A_TIME]
        inputs = model.build_inputs(
            [examples[row].input_ids for row in rows],
            None if videos is None else videos[rows],
            padding_side="right",
            labels=[examples[row].labels for row in rows],
        )
        share = int((inputs.labels[:, 1:] != IGNORE_INDEX).sum()) / labelled
        logits = model.head(model.hidden(inputs.embeds, mask=inputs.mask))
        loss = loss + share * sft_loss(logits, inputs.labels)
    return loss, {"tokens": sum(len(example.input_ids) for example in examples) / len(batch)}


def _optimizer(settings: Base) -> Optimizer:
    shared = {key: getattr(settings, key) for key in Optimizer.model_fields if key in Base.model_fields}
    return Optimizer(**shared, precision="fp32", deepspeed=None)


def _runtime(settings: Base) -> Runtime:
    return Runtime(
        gradient_checkpointing=False, micro_batch=None, save_every=settings.save_every, save_minutes=0, keep_states=2
    )


def _stage_of(stages: Sequence[Stage], step: int) -> Stage:
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    raise ValueError(f"step lies {step} steps after the last stage")


def _messages(turns: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [
        message
        for request, reply in turns
        for message in ({"from": "human", "value": request}, {"from": "gpt", "value": reply})
    ]


def _encode_pictures(
    model: VideoLM,
    frames: np.ndarray,
    pictures: list[np.ndarray | None],
    pixel_noise: float,
    rng: np.random.Generator,
) -> torch.Tensor | None:
    """Encode the pictures of a batch, with noise in place of the artifacts of video coding.

    Args:
        model: The model.
        frames: uint8 [N, F, S, S, 3], the pool of clips.
        pictures: For every row int64 [F, 2], clip and step of every picture; None for text alone.
        pixel_noise: Standard deviation of the noise, in gray levels.
        rng: Draws the noise.

    Returns:
        float [B, Q, D], zero for rows of text alone; None if no row has pictures.
    """
    with_pictures = [row for row, place in enumerate(pictures) if place is not None]
    if not with_pictures:
        return None
    place = np.stack([place for place in pictures if place is not None])  # [C, F, 2]
    pixels = frames[place[..., 0], place[..., 1]].astype(np.float32)  # [C, F, S, S, 3]
    pixels += pixel_noise * rng.standard_normal(pixels.shape, dtype=np.float32)
    encoded = model.connect(model.encode(torch.from_numpy(pixels.clip(0, 255).round().astype(np.uint8))))
    if not isinstance(encoded, torch.Tensor):
        encoded = torch.stack(list(encoded))
    videos = encoded.new_zeros(len(pictures), *encoded.shape[1:])
    return videos.index_copy(0, torch.tensor(with_pictures), encoded)
