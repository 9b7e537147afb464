"""The naive schedule, in which the published training code does its work; written anew, with this project's model.

- A question's G completions are generated one after the other. Each encodes the video again and prefills the prompt again.
- The video is encoded G times more for the policy and G times for the reference: 24 times a step for G = 8.
- Prompt and completion pass whole, as a batch of G sequences, with logits for every position, of which the completion's
  are kept.
- Evaluation and selection take one answer at a time.
- Every frame of a video is decoded and made a picture, to keep 16.

Where the published code does more, this does less: the vision tower stops at the layer that is used, one prefill computes
logits for its last position only, attention is fused, and the loop around the cache is leaner than `generate`. Values are
those of this project's schedule; `bench.work.compare` asserts it.

Source: what TinyLLaVA-Video-R1@efe76a1 does: tinyllava/train/tinyllava_trainer_reason.py, tinyllava/eval/*.py and
tinyllava/data/video_preprocess.py.

Letters: G rollouts of a question, L prompt positions, T new tokens, V vocabulary, F frames.
"""

from pathlib import Path

import av
import numpy as np
import torch
from transformers import DynamicCache

from bench.workload import SEED, Workload
from vidreason.engine.features import read_clips
from vidreason.engine.generation import Completions, Decoding, choose_tokens, rollout_seed, uniforms
from vidreason.engine.profiling import span
from vidreason.engine.prompts import prompts_of
from vidreason.media.extract_frames import frame_indices
from vidreason.media.probe import scan
from vidreason.media.resize import resize_frames
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.records import Question
from vidreason.rl.advantages import group_advantages
from vidreason.rl.losses import token_log_probs
from vidreason.rl.objectives import Normalizer, TokenBatch, grpo_loss
from vidreason.training.optimizer import PlainOptimizer


def encode(model: TinyLlavaVideo, pixels: torch.Tensor) -> torch.Tensor:
    """Tower and connector, on one clip of uint8 frames [1, F, S, S, 3]: [1, Q, D]."""
    with span("encode"):
        return model.encode_videos(normalize_frames(pixels.to(model.device)))


@torch.no_grad()
def generate_one(
    model: TinyLlavaVideo,
    prompt: torch.Tensor,
    pixels: torch.Tensor,
    decoding: Decoding,
    end: int,
    seed: np.random.SeedSequence | None,
) -> list[int]:
    """One completion of one prompt: encode, prefill, and a token at a time with a cache that grows.

    Args:
        model: The model.
        prompt: int64, ids of the prompt.
        pixels: uint8 [1, F, S, S, 3].
        decoding: How tokens are chosen.
        end: Id of the end of sequence.
        seed: Of this rollout; None for greedy decoding.

    Returns:
        Ids up to and including the end.
    """
    video = encode(model, pixels)
    with span("sample"):
        random = None if seed is None else uniforms([seed], decoding.max_new_tokens)
        embeds = model.build_inputs([prompt], video).embeds
        cache, table = DynamicCache(), model.language_model.get_input_embeddings()
        ids: list[int] = []
        while True:
            out = model(embeds, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token = choose_tokens(out.logits[:, -1], decoding, None if random is None else random[:, len(ids)])
            ids.append(int(token))
            if ids[-1] == end or len(ids) == decoding.max_new_tokens:
                return ids
            embeds = table(token[:, None])


def rollouts(work: Workload, question: Question, decoding: Decoding, purpose: str) -> Completions:
    """A question's G completions, one after the other."""
    prompt = prompts_of(work.policy, [question], "reason", training=True)[0]
    pixels = read_clips(work.store, [question.clip.key])
    rows = [
        generate_one(work.policy, prompt, pixels, decoding, work.end, seed) for seed in work.seeds(purpose, question)
    ]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), work.end)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    ended = torch.tensor([row[-1] == work.end for row in rows])
    device = work.policy.device
    return Completions(ids.to(device), lengths.to(device), ended.to(device))


def answer(work: Workload, question: Question, decoding: Decoding) -> list[int]:
    """One greedy answer to one question."""
    prompt = prompts_of(work.policy, [question], "reason", training=True)[0]
    return generate_one(work.policy, prompt, read_clips(work.store, [question.clip.key]), decoding, work.end, None)


def log_probs(
    model: TinyLlavaVideo, prompt: torch.Tensor, pixels: torch.Tensor, completions: Completions, recompute: bool = False
) -> torch.Tensor:
    """Log-probabilities [G, T] of G completions, from G encodings and G whole sequences with logits everywhere."""
    videos = torch.cat([encode(model, pixels) for _ in completions.lengths])
    with span("score"):
        embeds = model.build_inputs([prompt] * len(videos), videos).embeds
        own = model.language_model.get_input_embeddings()(completions.ids)
        visible = torch.cat((completions.mask.new_ones(embeds.shape[:2]), completions.mask), dim=1)
        whole = torch.cat((embeds, own), dim=1)  # [G, L + T, D]
        with model.recomputed(recompute):
            logits = model(whole, attention_mask=None if bool(visible.all()) else visible).logits  # [G, L + T, V]
        return token_log_probs(logits[:, embeds.shape[1] - 1 : -1], completions.ids) * completions.mask


def grpo_step(work: Workload, optimizer: PlainOptimizer, completions: list[Completions] | None = None) -> float:
    """Sample, reward and learn from a step's questions, one question after the other.

    Args:
        work: Models and questions.
        optimizer: Gathers the gradient.
        completions: Completions to learn from, one group a question; None to sample them.

    Returns:
        The loss.
    """
    size, settings, advantage, loss = work.size, work.settings, work.settings.advantage, 0.0
    for place, question in enumerate(work.batch):
        group = rollouts(work, question, work.decoding, "grpo") if completions is None else completions[place]
        table = work.trainer.sampler.reward([work.trainer.sampler.graded(question, group)])
        draw = np.random.default_rng(rollout_seed(SEED, "grpo noise", 0, question.id))
        noise = torch.from_numpy(advantage.noise * draw.standard_normal(size.rollouts)).float()
        total = torch.from_numpy(table.total).float()
        advantages = group_advantages(total, size.rollouts, advantage.std, advantage.eps, noise)
        prompt = prompts_of(work.policy, [question], "reason", training=True)[0]
        pixels = read_clips(work.store, [question.clip.key])
        logp = log_probs(work.policy, prompt, pixels, group, size.recompute)
        with torch.no_grad():
            ref_logp = log_probs(work.reference, prompt, pixels, group)
        with span("score"):
            batch = TokenBatch(logp, advantages.to(logp.device), group.mask, ref_logp=ref_logp)
            normalizer = Normalizer.of(group.mask, settings.sampling.max_new_tokens)
            result = grpo_loss(batch, settings.objective, normalizer)
        with span("backward"):
            optimizer.backward(result.loss / size.questions)
        loss += float(result.loss.detach()) / size.questions
    return loss


def take_frames(question: Question, root: Path, count: int, side: int) -> np.ndarray:
    """Uniform frames of a video, uint8 [F, S, S, 3], from a decoder that decodes all of them.

    Differs from the source: pictures that are not wanted are dropped at once. All of an hour would need 20 GB.
    """
    path = root / question.clip.path
    wanted = frame_indices(question, scan(path), count)
    frames: dict[int, np.ndarray] = {}
    keep = set(wanted.tolist())
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1  # as the other side decodes
        for number, frame in enumerate(container.decode(video=0)):
            picture = frame.to_ndarray(format="rgb24")
            if number in keep:
                frames[number] = picture
    return np.concatenate([resize_frames(frames[int(index)][None], side) for index in wanted])
