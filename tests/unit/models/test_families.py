"""Checkpoints are loaded and saved by the family that their config.json names, and a model brings its tokenizer."""

import json

import pytest
import torch

from tests.support import micro
from vidreason.models import families
from vidreason.models.families import Family, load_checkpoint, save_checkpoint
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.weights import CheckpointError


class OtherVideo(TinyLlavaVideo):
    """A model of another family."""

    family = "other_video"


@pytest.fixture
def other(monkeypatch):
    """A second family that records its calls."""
    calls = []

    def load(folder, dtype, attention):
        calls.append(("load", folder, dtype, attention))
        return OtherVideo(micro.model().config)

    family = Family(load, lambda model, folder: calls.append(("save", folder)))
    monkeypatch.setitem(families.FAMILIES, OtherVideo.family, family)
    return calls


def test_the_model_type_decides_who_loads_and_who_saves(other, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "other_video"}))
    model = load_checkpoint(str(tmp_path), torch.bfloat16)
    assert isinstance(model, OtherVideo)
    save_checkpoint(model, tmp_path / "saved")
    assert other == [("load", tmp_path, torch.bfloat16, "sdpa"), ("save", tmp_path / "saved")]


def test_a_checkpoint_of_the_first_family_is_still_its_own(other, tmp_path):
    loaded = load_checkpoint(micro.checkpoint(tmp_path / "checkpoint"))
    assert type(loaded) is TinyLlavaVideo
    assert not other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json: no such file"),
        ("<html>", "it is a web page"),
        ("[]", "expected a JSON object"),
        ('{"model_type": "llava"}', "model_type is 'llava'; expected 'tinyllava'"),
    ],
)
def test_what_no_family_knows_is_refused_by_name(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_a_model_without_a_tokenizer_says_so():
    model = initialize(micro.model().config, seed=0)
    with pytest.raises(ValueError, match="built without a tokenizer"):
        model.text_ids("red")
    model.tokenizer = micro.tokenizer()
    assert model.text_ids("red").tolist() == micro.tokenizer()("red").input_ids
    assert model.end_id == micro.tokenizer().eos_token_id


def test_copies_for_training_share_the_tokenizer():
    from vidreason.training.reference import bf16_copy, reference_of

    model = micro.model()
    assert reference_of(model).tokenizer is model.tokenizer
    assert bf16_copy(model).tokenizer is model.tokenizer


def test_videos_may_come_one_by_one():
    """Features and video tokens as lists, as a family with clips of different lengths has them, give the same numbers."""
    model, frames = micro.model(), torch.from_numpy(micro.picture(0))[None].repeat(2, 1, 1, 1, 1)
    stacked = model.encode(frames)
    assert torch.equal(model.connect(list(stacked)), model.connect(stacked))
    ids = [torch.tensor([5, model.image_token, 7])] * 2
    videos = model.connect(stacked)
    assert torch.equal(model.build_inputs(ids, list(videos)).embeds, model.build_inputs(ids, videos).embeds)
