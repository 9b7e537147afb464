"""Compare processing, checkpoint and model with the golden data."""

import dataclasses
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.golden.folder import EXACT, Folder, Item, close, same, worst
from tests.golden.slow import connector_weights, slow_resampler
from vidreason.artifacts.files import read_json
from vidreason.engine import generation
from vidreason.media import frame_rules as indices
from vidreason.models.tinyllava import checkpoint, resampler
from vidreason.models.tinyllava import preprocessing as processing
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.template import text_ids

PIXELS = 1e-6
FEATURES = 5e-5
CONNECTOR = 5e-5
LOGITS = 1e-4


def videos_of(folder: Folder) -> list[int]:
    """Numbers of the videos in the inputs."""
    found = (re.fullmatch(r"raw_all_(\d+)", key) for key in folder.tensors("inputs"))
    return sorted(int(match.group(1)) for match in found if match)


def check_processor(folder: Folder) -> Iterator[Item]:
    """Raw frames to pixel values."""
    given, size = folder.tensors("inputs"), folder.model.config.image_size
    published = folder.json("siglip_preprocessor_config")
    ours = {
        "size": {"height": size, "width": size},
        "resample": int(processing.RESAMPLE),
        "image_mean": [processing.MEAN] * 3,
        "image_std": [processing.STD] * 3,
        "rescale_factor": processing.RESCALE,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
    }
    yield same("processor: settings", [(key, ours[key], published[key]) for key in ours])
    for video in videos_of(folder):
        frames = given[f"raw_all_{video}"]
        wanted = given[f"frame_indices_{video}"]
        chosen = indices.uniform_indices(len(frames), len(wanted))
        yield same(f"processor: frame numbers of video {video}", [("linspace", chosen.tolist(), wanted.tolist())])
        raw = frames[torch.from_numpy(chosen)]
        yield close(f"processor: raw frames of video {video}", raw, given[f"raw_frames_{video}"], EXACT)
        pixels = processing.normalize_frames(processing.resize_frames(raw.numpy(), size))
        yield close(f"processor: pixel values of video {video}", pixels, given["pixel_values"][video], PIXELS)
    edge = processing.resize_frames(given["edge_raw"].numpy(), size)
    pixels = processing.normalize_frames(edge)
    yield close("processor: edge frames, picture path", pixels, given["edge_pixel_values_pil_path"], PIXELS)
    pixels = processing.normalize_frames(edge, dark_frames="upstream")
    yield close("processor: edge frames, float path", pixels, given["edge_pixel_values_float_path"], PIXELS)


def check_checkpoint(folder: Folder) -> Iterator[Item]:
    """Names, shapes, and that what is saved is what was loaded."""
    keys = folder.json("keys")
    model, tokenizer = folder.model, folder.tokenizer
    for name, tensors in (("state_dict", model.state_dict()), ("safetensors", checkpoint.stored_weights(model))):
        wanted = {key: value["shape"] for key, value in keys[name].items()}
        found = {key: list(tensor.shape) for key, tensor in tensors.items()}
        yield same(
            f"checkpoint: names and shapes ({name})",
            [(key, found.get(key), wanted.get(key)) for key in sorted(found.keys() | wanted.keys())],
        )
    count = sum(parameter.numel() for parameter in model.parameters())
    yield same("checkpoint: number of parameters", [("parameters", count, keys["n_parameters"])])
    path = folder.path / "checkpoint" / "config.json"
    yield same("checkpoint: config.json round trip", [
        (key, value, TinyLlavaConfig.load(path).to_dict().get(key)) for key, value in read_json(path).items()
    ])  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        for kind, size in (("one file", checkpoint.SHARD_BYTES), ("shards", 1_000_000)):
            target = Path(temporary) / kind
            checkpoint.save_checkpoint(model, target, size)
            again = checkpoint.load_checkpoint(target)
            tokens = again.tokenizer
            pairs = zip(model.state_dict().items(), again.state_dict().values(), strict=True)
            yield same(f"checkpoint: saved and loaded ({kind})", [
                *((key, torch.equal(ours, theirs), True) for (key, ours), theirs in pairs),
                ("tokenizer", _spelling(tokens, folder), _spelling(tokenizer, folder)),
            ])  # fmt: skip


def _spelling(tokenizer: object, folder: Folder) -> list[list[int]]:
    """Ids of all golden prompts."""
    return [text_ids(tokenizer, case["prompt"]) for case in folder.json("text")["cases"] if case["prompt"]]  # type: ignore[arg-type]


@torch.no_grad()
def check_vision(folder: Folder) -> Iterator[Item]:
    """Pixels to features, and every hidden state of one frame."""
    given, wanted = folder.tensors("inputs"), folder.tensors("outputs")
    features = folder.model.encode_frames(given["pixel_values"])
    yield close("vision: features", features, wanted["vision_features"].flatten(1, 2), FEATURES)
    model = folder.new_model()
    states = wanted["vision_hidden_states_v0f0"]
    for layer in range(len(states)):
        model.config = dataclasses.replace(
            model.config, vision_feature_layer=layer, vision_feature_select_strategy="cls_patch"
        )
        found = model.encode_frames(given["pixel_values"][:1, :1])[0]
        yield close(f"vision: hidden state {layer} of one frame", found, states[layer], FEATURES)


@torch.no_grad()
def check_connector(folder: Folder) -> Iterator[Item]:
    """Features to the language model's embeddings."""
    given, wanted = folder.tensors("inputs"), folder.tensors("outputs")
    model = folder.model
    connector = model.connector._connector
    features = wanted["vision_features"].flatten(1, 2)
    sizes = resampler.group_sizes(features.shape[1], model.config.group)
    yield same("connector: sizes of the groups", [("groups", sizes, folder.json("meta")["seq_into_group_split"])])
    yield close("connector: projected tokens", connector.linear(features[:1]), wanted["connector_linear_v0"], CONNECTOR)  # type: ignore[operator,union-attr]
    encoding = wanted["position_encoding"]
    found = resampler.position_encoding(*encoding.shape[1:]).to(encoding.dtype)
    yield close("connector: position encoding", found[None], encoding, EXACT)
    yield close(
        "connector: output from golden features", model.connect(features), wanted["connector_output"], CONNECTOR
    )
    yield close(
        "connector: output from pixels",
        model.encode_videos(given["pixel_values"]),
        wanted["connector_output"],
        CONNECTOR,
    )
    yield from _uneven(model, features, wanted["connector_output"])


def _uneven(model: TinyLlavaVideo, features: torch.Tensor, output: torch.Tensor) -> Iterator[Item]:
    """Numbers of tokens that do not divide into the groups, compared with a plain loop over the groups.

    The golden numbers themselves may come from an even split, so the loop is first compared with them.
    """
    weights, groups = connector_weights(model.state_dict()), model.config.group
    yield close("connector: the loop itself", slow_resampler(weights, features, groups), output, CONNECTOR)
    counts = [count for count in range(groups + 1, features.shape[1]) if count % groups]
    if not counts:  # one group, or hardly a token for each: no uneven split exists
        return
    cases = []
    for count in sorted({counts[0], counts[len(counts) // 2], counts[-1]}):
        slow, ours = slow_resampler(weights, features[:, :count], groups), model.connect(features[:, :count])
        cases.append((f"{count} tokens in {groups} groups", float((ours - slow).abs().max()), 0.0))
    yield worst("connector: uneven groups against a loop", cases, CONNECTOR)


@torch.no_grad()
def check_merging(folder: Folder) -> Iterator[Item]:
    """Text and video in one sequence, single and in batches padded on either side."""
    given, wanted = folder.tensors("inputs"), folder.tensors("outputs")
    model = folder.model
    videos = model.encode_videos(given["pixel_values"])
    single = model.build_inputs([given["input_ids"][0]], videos[:1]).embeds
    yield close("merge: embeddings of one sequence", single, wanted["inputs_embeds"], CONNECTOR)
    rows = [ids[mask] for ids, mask in zip(given["batch_input_ids"], given["batch_attention_mask"], strict=True)]
    inputs = model.build_inputs(rows, videos, padding_side="right", labels=rows)
    yield close("merge: batch, embeddings", inputs.embeds, wanted["batch_inputs_embeds"], CONNECTOR)
    for side, prefix, padded in (
        ("right", "batch_merged", inputs),
        ("left", "batch_left_merged", model.build_inputs(rows, videos, padding_side="left", labels=rows)),
    ):
        yield close(f"merge: batch padded {side}, mask", padded.mask, wanted[f"{prefix}_attention_mask"], EXACT)
        yield close(f"merge: batch padded {side}, labels", padded.labels, wanted[f"{prefix}_labels"], EXACT)
        positions = padded.positions * padded.mask
        yield close(f"merge: batch padded {side}, positions", positions, wanted[f"{prefix}_position_ids"], EXACT)
    left = model.build_inputs(rows, videos, padding_side="left").embeds
    yield close(
        "merge: batch padded left, first position", left[:, 0], wanted["batch_left_embeds_first_row"], CONNECTOR
    )
    for key in wanted:
        cut = re.fullmatch(r"truncated(\d+)_inputs_embeds_shape", key)
        if cut:
            short = folder.new_model()
            short.config = dataclasses.replace(short.config, tokenizer_model_max_length=int(cut.group(1)))
            shape = list(short.build_inputs([given["input_ids"][0]], videos[:1]).embeds.shape)
            yield same(f"merge: cut after {cut.group(1)} positions", [("shape", shape, wanted[key].tolist())])


@torch.no_grad()
def check_logits(folder: Folder) -> Iterator[Item]:
    """Logits of the language model."""
    given, wanted = folder.tensors("inputs"), folder.tensors("outputs")
    model = folder.model
    videos = model.encode_videos(given["pixel_values"])
    inputs = model.build_inputs([given["input_ids"][0]], videos[:1])
    embeds, mask = inputs.embeds, inputs.mask
    yield close("logits: one sequence", model(embeds).logits, wanted["logits"], LOGITS)
    text = model.build_inputs([given["text_only_input_ids"][0]], None).embeds
    yield close("logits: text only", model(text).logits, wanted["text_only_logits"], LOGITS)
    rows = [ids[real] for ids, real in zip(given["batch_input_ids"], given["batch_attention_mask"], strict=True)]
    for side in ("right", "left"):
        inputs = model.build_inputs(rows, videos, padding_side=side)
        embeds, mask = inputs.embeds, inputs.mask
        logits = model(embeds, attention_mask=mask, position_ids=inputs.positions).logits
        for row in range(len(rows)):
            last = logits[row, mask[row]][-1]
            yield close(
                f"logits: batch padded {side}, end of row {row}", last, wanted[f"batch_last_valid_logits_{row}"], LOGITS
            )


@torch.no_grad()
def check_greedy(folder: Folder) -> Iterator[Item]:
    """Greedy decoding with the project's own loop, and the scores on its way."""
    given, wanted = folder.tensors("inputs"), folder.tensors("outputs")
    model, tokenizer = folder.model, folder.tokenizer
    videos = model.encode_videos(given["pixel_values"])
    cases = {"0": (given["input_ids"][0], videos[:1]), "1": (given["input_ids_1"][0], videos[1:2])}
    cases["text_only"] = (given["text_only_input_ids"][0], None)  # type: ignore[assignment]
    margins = f"smallest margin {min(folder.json('meta')['min_greedy_margin']):.3g}"
    for name, (prompt, video) in cases.items():
        ids = wanted[f"greedy_ids_{name}"]
        decoding = generation.Decoding(max_new_tokens=ids.shape[1], temperature=0)
        found = generation.generate(model, [prompt], video, decoding, int(tokenizer.eos_token_id)).ids
        result = same(f"greedy: ids ({name})", [("ids", found.tolist(), ids.tolist())])
        yield dataclasses.replace(result, detail=result.detail if not result.passed else margins)
    ids, scores = wanted["greedy_ids_0"], wanted["greedy_scores_0"]
    embeds = model.build_inputs([torch.cat((given["input_ids"][0], ids[0]))], videos[:1]).embeds
    logits = model(embeds).logits[0, -len(scores) - 1 : -1]
    yield close("greedy: scores (0)", logits, scores, LOGITS)


CHECKS = (
    check_processor,
    check_checkpoint,
    check_vision,
    check_connector,
    check_merging,
    check_logits,
    check_greedy,
)
