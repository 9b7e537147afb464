"""The golden check passes, and notices the mistakes that are easily made."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.golden import check
from tests.golden.folder import Folder
from tests.golden.slow import connector_weights, slow_resampler
from vidreason.models.base import IGNORE_INDEX, LabelledIds
from vidreason.models.tinyllava import resampler
from vidreason.models.tinyllava import template as prompts
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.rl import advantages, losses, objectives

HERE = Path(__file__).parent


def failures(*only, folder=HERE):
    """Names of the items that fail."""
    return [item.name for item in check.run(Folder(folder), only) if not item.passed]


def test_all_within_tolerance(capsys):
    assert check.main([str(HERE)]) == 0
    printed = capsys.readouterr().out
    assert "FAIL" not in printed
    assert "all within tolerance" in printed.splitlines()[-1]


def test_every_subject_is_compared(capsys):
    check.main([str(HERE)])
    printed = capsys.readouterr().out
    for subject in (
        "processor: pixel values", "vision: features", "connector: output", "merge: batch padded left", "logits: one",
        "greedy: ids", "tokens: ids", "tokens: label masks", "rewards: accuracy", "rewards: format", "advantages:",
        "sft: loss", "sft: gradient norms", "grpo: log-probabilities", "grpo: KL per token", "grpo: loss ",
        "grpo, vision frozen: gradient norms", "grpo, all trainable: gradient norms", "grpo, beta 1: gradient norms",
        "parsing: letters", "questions: video_mme", "questions: mvbench", "questions: mlvu", "questions: mmvu",
        "frames: uniform", "frames: segments", "frames: time stamps",
    ):  # fmt: skip
        assert subject in printed, subject


def test_full_precision_positions_are_noticed(monkeypatch):
    def precise(length, width):
        position = torch.arange(length, dtype=torch.float32)[:, None]
        rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        return torch.stack(((position * rate).sin(), (position * rate).cos()), dim=-1).flatten(1)

    monkeypatch.setattr(resampler, "position_encoding", precise)
    failed = failures("connector", "logits")
    assert "connector: output from golden features" in failed
    assert "logits: one sequence" in failed


def test_kept_first_patch_is_noticed(monkeypatch):
    original = TinyLlavaConfig.from_dict

    def keeping(values, source="model config"):
        return original(values | {"vision_feature_select_strategy": "cls_patch"}, source)

    monkeypatch.setattr(TinyLlavaConfig, "from_dict", keeping)
    failed = failures("vision", "connector", "logits")
    assert {"vision: features", "connector: output from pixels", "logits: one sequence"} <= set(failed)


def test_other_dropped_patch_is_noticed(monkeypatch):
    original = TinyLlavaVideo.encode_frames

    def dropping_last(self, pixel_values):
        config = self.config
        self.config = type(config)(**{**vars(config), "vision_feature_select_strategy": "cls_patch"})
        features = original(self, pixel_values).unflatten(1, (pixel_values.shape[1], -1))[:, :, :-1].flatten(1, 2)
        self.config = config
        return features

    monkeypatch.setattr(TinyLlavaVideo, "encode_frames", dropping_last)
    assert {"vision: features", "connector: output from pixels"} <= set(failures("vision", "connector"))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """The golden folder with 7 groups in place of 8: 120 tokens in groups of 18, 17, 17, ..."""
    folder = tmp_path_factory.mktemp("uneven") / "golden"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    config = json.loads((folder / "checkpoint/config.json").read_text())
    queries = config["num_queries"] // config["group"]
    config |= {"group": 7, "num_queries": 7 * queries}
    (folder / "checkpoint/config.json").write_text(json.dumps(config))
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"seq_into_group_split": [18, 17, 17, 17, 17, 17, 17]}))
    weights = connector_weights(load_file(folder / "checkpoint/model.safetensors"))
    outputs = load_file(folder / "outputs.safetensors")
    features = outputs["vision_features"].flatten(1, 2)
    outputs["connector_output"] = slow_resampler(weights, features, 7)
    outputs["position_encoding"] = outputs["position_encoding"][:, : 7 * queries].contiguous()
    save_file(outputs, folder / "outputs.safetensors")
    return folder


def test_uneven_groups_pass(uneven):
    assert failures("connector", folder=uneven) == []


def test_uneven_split_the_wrong_way_is_noticed(uneven, monkeypatch):
    original = resampler.group_sizes
    monkeypatch.setattr(resampler, "group_sizes", lambda tokens, groups: original(tokens, groups)[::-1])
    failed = failures("connector", folder=uneven)
    assert {"connector: sizes of the groups", "connector: output from golden features"} <= set(failed)
    assert failures("connector") == ["connector: uneven groups against a loop"]


def test_padding_that_is_read_is_noticed(uneven, monkeypatch):
    original = resampler.group_layout

    def unmasked(*arguments):
        index, mask = original(*arguments)
        return index, torch.ones_like(mask)

    monkeypatch.setattr(resampler, "group_layout", unmasked)
    assert "connector: output from golden features" in failures("connector", folder=uneven)
    assert failures("connector") == ["connector: uneven groups against a loop"]


def test_kl_of_the_other_direction_is_noticed(monkeypatch):
    original = losses.token_kl

    def reversed_kl(logp, ref, *rest, **options):
        return original(ref, logp, *rest, **options)

    monkeypatch.setattr(losses, "token_kl", reversed_kl)
    monkeypatch.setattr(objectives, "token_kl", reversed_kl)
    failed = failures("kl_cases", "grpo")
    assert {"kl: single numbers", "grpo: KL per token", "grpo, beta 1: gradient norms (relative)"} <= set(failed)


def test_kl_that_is_rewarded_is_noticed(monkeypatch):
    original = objectives.grpo_loss

    def rewarded(batch, objective, normalizer):
        return original(batch, SimpleNamespace(**objective.model_dump() | {"beta": -objective.beta}), normalizer)

    monkeypatch.setattr(objectives, "grpo_loss", rewarded)
    failed = failures("grpo")
    assert {
        "grpo: loss",
        "grpo, vision frozen: gradient norms (relative)",
        "grpo, beta 1: gradient norms (relative)",
    } <= set(failed)


def test_advantage_of_the_other_sign_is_noticed_by_gradients(monkeypatch):
    original = objectives.grpo_loss

    def punishing(batch, *rest):
        return original(dataclasses.replace(batch, advantages=-batch.advantages), *rest)

    monkeypatch.setattr(objectives, "grpo_loss", punishing)
    failed = failures("grpo")
    assert "grpo, vision frozen: gradient norms (relative)" in failed
    assert "grpo: loss" not in failed, "the loss alone would not have noticed"


@pytest.mark.parametrize("kind", ["population", "none"])
def test_other_standard_deviation_is_noticed(kind, monkeypatch):
    changed = functools.partial(advantages.group_advantages, std=kind)
    monkeypatch.setattr(advantages, "group_advantages", changed)
    failed = failures("advantages", "grpo")
    assert {"advantages: groups with different rewards", "grpo: advantages"} <= set(failed)
    assert "grpo, vision frozen: gradient norms (relative)" in failed


def one_later(ids, labels):
    """The mask covers one token of each answer too many."""
    labels = labels.clone()
    first = (labels[1:] != IGNORE_INDEX) & (labels[:-1] == IGNORE_INDEX)
    labels[1:][first] = IGNORE_INDEX
    return ids, labels


def everything(ids, labels):
    """The question is learned too."""
    return ids, torch.where(ids >= 0, ids, IGNORE_INDEX)


def without_end(ids, labels):
    """The end of sequence is not learned."""
    labels = labels.clone()
    labels[-1] = IGNORE_INDEX
    return ids, labels


@pytest.mark.parametrize("mistake", [one_later, everything, without_end])
def test_wrong_label_mask_is_noticed(mistake, monkeypatch):
    original = prompts.labelled_ids
    monkeypatch.setattr(prompts, "labelled_ids", lambda *args: LabelledIds(*mistake(*original(*args))))
    failed = failures("tokens", "sft")
    assert {"tokens: label masks (checkpoint's tokenizer)", "sft: loss", "sft: labels of the batch"} <= set(failed)


def test_missing_file_fails_and_the_other_checks_run(tmp_path, capsys):
    folder = tmp_path / "golden"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (folder / "rewards.json").unlink()
    assert check.main([str(folder), "--only", "rewards", "frames"]) == 1
    printed = capsys.readouterr().out
    assert "FAIL  rewards: FileNotFoundError" in printed
    assert "ok    frames: uniform" in printed


def test_folder_without_data_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        check.main([str(tmp_path)])
    assert "no meta.json" in capsys.readouterr().err
