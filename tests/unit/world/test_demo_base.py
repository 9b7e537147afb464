"""The base model that is kept in the repository is the one that the configuration describes."""

import json
from pathlib import Path

import pytest
import yaml

from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava.import_published import import_weights
from vidreason.world.corpus import WORDS
from vidreason.world.tokenizer import build_tokenizer

ROOT = Path(__file__).parents[3]
BASE = ROOT / "config/demo_base/checkpoint"


@pytest.fixture(scope="module")
def demo():
    return yaml.safe_load((ROOT / "config/demo.yaml").read_text())


def test_it_was_trained_with_the_settings_of_the_demo(demo):
    """Whoever changes `base` in config/demo.yaml trains it again; see config/demo_base/README.md."""
    paper = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    made = json.loads(BASE.with_suffix(".provenance.json").read_text())
    expected = {"settings": demo["base"], "image_size": demo["frames"]["size"], "seed": paper["seed"]}
    assert made["params"] == expected
    assert made["modules"] == [
        "vidreason.training.base"
    ]  # the name of world/pretraining.py at the commit named beside it


def test_its_tokenizer_is_that_of_the_world(tmp_path, demo):
    build_tokenizer(WORDS, demo["base"]["model"]["context"]).save_pretrained(tmp_path)
    own, kept = (json.loads((folder / "tokenizer.json").read_text()) for folder in (tmp_path, BASE))
    assert kept["model"]["vocab"] == own["model"]["vocab"]
    assert kept["added_tokens"] == own["added_tokens"]


def test_it_is_imported_as_published_weights_are(tmp_path, demo):
    import_weights(weights=BASE, out=tmp_path / "checkpoint", frame_size=demo["frames"]["size"])
    model = load_checkpoint(tmp_path / "checkpoint")
    tokenizer = model.tokenizer
    assert model.config.text().vocab_size == len(tokenizer)


def test_it_is_small():
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 3_000_000
