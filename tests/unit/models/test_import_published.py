"""Published weights become a checkpoint folder that is whole, or an error that lists what is wrong and leaves nothing."""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.support import micro
from vidreason.artifacts.integrity import ChangedError
from vidreason.artifacts.provenance import write_sidecar
from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava import checkpoint
from vidreason.models.tinyllava import weights as weight_files
from vidreason.models.tinyllava.checkpoint import save_checkpoint
from vidreason.models.tinyllava.checkpoint_files import INDEX, WEIGHTS
from vidreason.models.tinyllava.import_published import import_weights
from vidreason.models.tinyllava.tokenizer import load_tokenizer
from vidreason.models.tinyllava.weights import EMBEDDING, FAULTS_LISTED, TIED, CheckpointError

GOLDEN = Path(__file__).parents[2] / "golden"
SIZE = 56
WORDS = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
PROCESSOR = "preprocessor_config.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 7259756672\n"
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
NORM = "connector._connector.norm.bias"
SHARD_BYTES = 500_000


@pytest.fixture
def published(tmp_path):
    """Weights as upstream saves them, which is what is published."""
    return Path(shutil.copytree(GOLDEN / "checkpoint", tmp_path / "published"))


@pytest.fixture
def siglip(tmp_path):
    """The vision tower's repository."""
    folder = tmp_path / "siglip"
    folder.mkdir()
    shutil.copy(GOLDEN / "siglip_preprocessor_config.json", folder / PROCESSOR)
    return folder


@pytest.fixture
def qwen(tmp_path):
    """The language model's repository: the tokenizer with settings of its own, and files that are none of a tokenizer."""
    folder = tmp_path / "qwen"
    folder.mkdir()
    for name in WORDS:
        shutil.copy(GOLDEN / "checkpoint" / name, folder)
    edit(folder / "tokenizer_config.json", model_max_length=131072)
    for name in ("config.json", "generation_config.json", WEIGHTS, "README.md"):
        (folder / name).write_text("of the language model alone")
    return folder


@pytest.fixture(scope="module")
def given():
    """Pixels and a prompt."""
    tensors = load_file(GOLDEN / "inputs.safetensors")
    return tensors["pixel_values"][:1], tensors["input_ids"][0]


def edit(path: Path, **changes):
    """Change keys of a JSON file; a nested key is written `part__key`, and ... removes one."""
    values = json.loads(path.read_text())
    for name, value in changes.items():
        *parts, key = name.split("__")
        place = values
        for part in parts:
            place = place[part]
        if value is ...:
            place.pop(key)
        else:
            place[key] = value
    path.write_text(json.dumps(values))


def rewrite(folder: Path, change=lambda weights: None, shard_bytes=10**12):
    """Store the weights of a folder anew, changed, in one file or in shards."""
    weights = checkpoint.read_weights(folder)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    weights = change(weights) or weights
    checkpoint.write_weights({key: tensor.clone() for key, tensor in weights.items()}, folder, shard_bytes)


def cast(dtype):
    return lambda weights: {key: tensor.to(dtype) for key, tensor in weights.items()}


def untie(weights):
    weights[TIED] = weights[EMBEDDING] + 1


def run(published: Path, **options) -> Path:
    """Import with nothing else given; the folder that was made."""
    out = published.parent / "made" / "checkpoint"
    import_weights(**{"weights": published, "out": out, "frame_size": SIZE, **options})
    return out


def faults_of(published: Path, **options) -> str:
    """The message of a refused import, which must leave nothing behind."""
    with pytest.raises(CheckpointError) as caught:
        run(published, **options)
    made = published.parent / "made"
    assert not made.exists() or not [*made.iterdir()]
    return str(caught.value)


@torch.no_grad()
def logits(model, given):
    pixels, ids = given
    return model(model.build_inputs([ids], model.encode_videos(pixels)).embeds).logits


def assert_same(model, other):
    pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
    for (name, ours), (same_name, theirs) in pairs:
        assert name == same_name
        assert ours.dtype == theirs.dtype, name
        assert torch.equal(ours, theirs), name


def shard_of(folder: Path, key=NORM) -> Path:
    return folder / json.loads((folder / INDEX).read_text())["weight_map"][key]


def in_shards(folder: Path):
    rewrite(folder, shard_bytes=SHARD_BYTES)


def change_weights(change):
    return lambda folder: rewrite(folder, change)


def stored_as(dtype):
    return lambda folder: rewrite(folder, cast(dtype))


def untied(folder: Path):
    rewrite(folder, untie)
    edit(folder / "config.json", text_config__tie_word_embeddings=False)


FORMS = {
    "one file": lambda folder: None,
    "shards": in_shards,
    "bf16": stored_as(torch.bfloat16),
    "fp16": stored_as(torch.float16),
    "bf16 in shards": lambda folder: rewrite(folder, cast(torch.bfloat16), SHARD_BYTES),
    "types mixed": change_weights(lambda weights: weights.update({NORM: weights[NORM].half()})),
    "tied, both stored": change_weights(lambda weights: weights.update({TIED: weights[EMBEDDING]})),
    "tied, both stored, in shards": lambda folder: rewrite(
        folder, lambda weights: weights.update({TIED: weights[EMBEDDING]}), SHARD_BYTES
    ),
    "tied, stored in two types": lambda folder: rewrite(
        folder,
        lambda weights: {**cast(torch.bfloat16)(weights), TIED: weights[EMBEDDING].bfloat16().float()},
    ),
    "tied, output stored": change_weights(lambda weights: weights.update({TIED: weights.pop(EMBEDDING)})),
    "untied": untied,
}


class TestImport:
    @pytest.mark.parametrize("form", FORMS)
    def test_the_imported_model_is_the_published_one(self, published, given, form):
        FORMS[form](published)
        source = load_checkpoint(published)
        made = load_checkpoint(run(published))
        words = made.tokenizer
        assert_same(made, source)
        assert torch.equal(logits(made, given), logits(source, given))
        assert words("<|endoftext|> a").input_ids == load_tokenizer(published)("<|endoftext|> a").input_ids

    @pytest.mark.parametrize("form", FORMS)
    def test_what_is_saved_of_it_is_in_the_published_format(self, published, tmp_path, given, form):
        FORMS[form](published)
        made = load_checkpoint(run(published))
        save_checkpoint(made, tmp_path / "saved")
        again = load_checkpoint(tmp_path / "saved")
        assert_same(again, made)
        assert torch.equal(logits(again, given), logits(made, given))
        keys = set(json.loads((GOLDEN / "keys.json").read_text())["safetensors"])
        assert set(load_file(tmp_path / "saved" / WEIGHTS)) == (keys | {TIED} if form == "untied" else keys)
        stored, kept = (json.loads((folder / "config.json").read_text()) for folder in (published, tmp_path / "saved"))
        assert kept == stored
        assert {*WORDS, "generation_config.json", PROCESSOR} <= {path.name for path in (tmp_path / "saved").iterdir()}

    def test_golden_logits_are_reached(self, published, given):
        wanted = load_file(GOLDEN / "outputs.safetensors")["logits"]
        assert torch.allclose(logits(load_checkpoint(run(published)), given), wanted, atol=1e-4)

    def test_files_are_those_of_a_checkpoint(self, published):
        rewrite(published, shard_bytes=SHARD_BYTES)
        shards = {path.name for path in published.glob("*.safetensors")}
        assert len(shards) > 2
        for name in ("README.md", "training_args.bin", "pytorch_model.bin", "leftover.safetensors"):
            (published / name).write_text("not of a checkpoint")
        out = run(published)
        copied = {"config.json", "generation_config.json", INDEX, *WORDS}
        assert {path.name for path in out.iterdir()} == {*copied, *shards, PROCESSOR}
        for name in copied:
            assert (out / name).read_bytes() == (published / name).read_bytes(), name

    def test_what_need_not_be_there_need_not_be_there(self, published):
        (published / "generation_config.json").unlink()
        out = run(published)
        assert not (out / "generation_config.json").exists()
        load_checkpoint(out)

    def test_a_folder_that_was_there_is_replaced(self, published):
        out = published.parent / "made" / "checkpoint"
        out.mkdir(parents=True)
        (out / "stale").write_text("")
        assert run(published) == out
        assert not (out / "stale").exists()
        assert_same(load_checkpoint(out), load_checkpoint(published))

    def test_a_folder_that_was_there_survives_a_fault(self, published):
        out = run(published)
        before = (out / WEIGHTS).stat().st_ino
        with pytest.raises(CheckpointError):
            run(published, frame_size=SIZE + 1)
        assert (out / WEIGHTS).stat().st_ino == before
        assert [path.name for path in out.parent.iterdir()] == [out.name]

    def test_an_imported_folder_can_be_imported(self, published):
        out = run(published)
        again = run(out)
        assert_same(load_checkpoint(again), load_checkpoint(published))

    @pytest.mark.parametrize("place", [".", "..", "../link"])
    def test_the_source_is_not_overwritten(self, published, place):
        (published.parent / "link").symlink_to(published)
        with pytest.raises(CheckpointError, match="name another folder"):
            import_weights(weights=published, out=published / place, frame_size=SIZE)
        assert (published / WEIGHTS).is_file()

    def test_no_weights_are_loaded(self, published, monkeypatch):
        opened = []

        class Headers:
            def __init__(self, path, framework):
                opened.append(Path(path).name)
                self.file = safe_open(path, framework)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            keys = property(lambda self: self.file.keys)
            get_slice = property(lambda self: self.file.get_slice)

        rewrite(published, shard_bytes=SHARD_BYTES)
        monkeypatch.setattr(weight_files, "safe_open", Headers)
        run(published)
        assert {path.name for path in published.glob("*.safetensors")} == set(opened)
        with pytest.raises(AttributeError, match="get_tensor"):
            load_checkpoint(published)


class TestCopies:
    def test_nothing_done_to_the_originals_reaches_what_was_imported(self, published, given):
        source = logits(load_checkpoint(published), given)
        in_shards(published)
        out = run(published)
        for path in published.iterdir():
            if path.name in {copy.name for copy in out.iterdir()}:
                assert (out / path.name).stat().st_ino != path.stat().st_ino
                assert not (out / path.name).is_symlink()
        for path in published.glob("*.safetensors"):  # in place, as `cp` over a file does it
            with path.open("r+b") as stream:
                stream.truncate(9)
        assert torch.equal(logits(load_checkpoint(out), given), source)
        shutil.rmtree(published)
        assert torch.equal(logits(load_checkpoint(out), given), source)

    def test_a_system_that_cannot_share_bytes_copies_them(self, published, monkeypatch):
        def refuse(*_):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "copy_file_range", refuse)
        monkeypatch.chdir(published.parent)
        out = run(Path(published.name))
        assert (out / WEIGHTS).read_bytes() == (published / WEIGHTS).read_bytes()

    def test_weights_that_were_changed_since_they_were_made_are_refused(self, published):
        out = run(published)
        write_sidecar(out, [], {}, ["vidreason.artifacts.files"])
        load_checkpoint(out)
        content = (out / WEIGHTS).read_bytes()
        (out / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ChangedError, match="changed since it was made"):
            load_checkpoint(out)

    def test_a_hub_cache_of_links_is_seen_through(self, published):
        blobs, snapshot = published.parent / "blobs", published.parent / "snapshot"
        blobs.mkdir()
        snapshot.mkdir()
        for number, path in enumerate(sorted(published.iterdir())):
            path.rename(blobs / str(number))
            (snapshot / path.name).symlink_to(Path("..") / "blobs" / str(number))
        out = run(snapshot)
        assert not any(path.is_symlink() for path in out.iterdir())
        assert (out / WEIGHTS).read_bytes() == (snapshot / WEIGHTS).read_bytes()
        load_checkpoint(out)

    def test_a_read_only_source_is_left_as_it_is(self, published):
        for path in published.iterdir():
            path.chmod(0o444)
        published.chmod(0o555)
        before = {path.name: (path.stat().st_mode, path.read_bytes()) for path in published.iterdir()}
        out = run(published)
        assert {path.name: (path.stat().st_mode, path.read_bytes()) for path in published.iterdir()} == before
        assert all(path.stat().st_mode & stat.S_IWUSR for path in out.iterdir())
        load_checkpoint(out)
        published.chmod(0o755)


class TestTokenizer:
    def test_that_of_another_folder_is_taken_where_there_is_none(self, published, qwen):
        for name in WORDS:
            (published / name).unlink()
        out = run(published, tokenizer=qwen)
        for name in set(WORDS) - {"tokenizer_config.json"}:
            assert (out / name).read_bytes() == (qwen / name).read_bytes()
        assert not (out / "README.md").exists()
        assert (out / "config.json").read_bytes() == (published / "config.json").read_bytes()
        words = load_checkpoint(out).tokenizer
        assert words("<|endoftext|>").input_ids == [509]

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_length_and_padding_are_those_of_the_model(self, published, qwen, side):
        """Upstream imposes both when it loads the tokenizer; label masks depend on the length."""
        for name in WORDS:
            (published / name).unlink()
        edit(published / "config.json", tokenizer_padding_side=side)
        out = run(published, tokenizer=qwen)
        words = load_tokenizer(out)
        assert (words.model_max_length, words.padding_side) == (3072, side)
        theirs, ours = (json.loads((folder / "tokenizer_config.json").read_text()) for folder in (qwen, out))
        imposed = {"model_max_length": 3072, "padding_side": side}
        assert ours == {**theirs, **imposed}

    def test_one_that_is_there_comes_first(self, published, qwen):
        edit(qwen / "added_tokens.json", **{"<|im_start|>": 511, "<|im_end|>": 510})
        out = run(published, tokenizer=qwen)
        for name in WORDS:
            assert (out / name).read_bytes() == (published / name).read_bytes()

    def test_two_halves_are_not_joined(self, published, qwen):
        (published / "merges.txt").unlink()
        (published / "added_tokens.json").write_text("{}")
        out = run(published, tokenizer=qwen)
        assert (out / "added_tokens.json").read_bytes() == (qwen / "added_tokens.json").read_bytes()

    def test_a_single_file_will_do(self, published, tmp_path):
        load_tokenizer(published).save_pretrained(str(tmp_path / "whole"))
        for name in WORDS:
            (published / name).unlink()
        out = run(published, tokenizer=tmp_path / "whole")
        assert (out / "tokenizer.json").is_file()
        assert not (out / "vocab.json").exists()
        assert load_tokenizer(out)("<|endoftext|>").input_ids == [509]

    def test_none_at_all_is_named(self, published, siglip):
        (published / "vocab.json").unlink()
        alone = faults_of(published)
        assert f"{published}: no tokenizer.json, nor vocab.json with merges.txt" in alone
        assert "Qwen/Qwen2.5-3B" in alone
        assert f"{published} and {siglip}: no tokenizer.json" in faults_of(published, tokenizer=siglip)

    def test_more_tokens_than_the_model_has_are_refused(self, published):
        words = load_tokenizer(published)
        words.add_tokens(["<one more>"])
        checkpoint.save_tokenizer(words, published)
        assert "has 513 tokens, but text_config.vocab_size is 512" in faults_of(published)

    def test_ids_with_gaps_count(self, published, tmp_path):
        words = Tokenizer(models.WordLevel({"<unk>": 0, "<|endoftext|>": 509, "red": 600}, unk_token="<unk>"))
        whole = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<|endoftext|>")
        assert len(whole) == 3
        checkpoint.save_tokenizer(whole, tmp_path)
        for name in WORDS:
            (published / name).unlink()
        assert "has 601 tokens, but text_config.vocab_size is 512" in faults_of(published, tokenizer=tmp_path)

    def test_the_end_must_be_one_token(self, published, tmp_path):
        words = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1, "<end>": 2}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        checkpoint.save_tokenizer(
            PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>"), tmp_path
        )
        for name in WORDS:
            (published / name).unlink()
        message = faults_of(published, tokenizer=tmp_path)
        assert "<|endoftext|> is 3 tokens, [0, 0, 0]" in message
        assert "Qwen/Qwen2.5-3B" in message

    def test_generation_must_stop_at_the_end(self, published):
        edit(published / "tokenizer_config.json", eos_token="<|im_end|>")
        message = faults_of(published)
        assert "eos_token is '<|im_end|>' (511), needed '<|endoftext|>' (509)" in message
        assert "not of Instruct" in message

    @pytest.mark.parametrize(
        ("ids", "fits"), [(509, True), ([511, 509], True), (None, True), (511, False), ([3], False)]
    )
    def test_the_models_own_end_must_be_the_tokenizers(self, published, ids, fits):
        edit(published / "config.json", text_config__eos_token_id=ids)
        if fits:
            run(published)
        else:
            assert "<|endoftext|> is token 509, but text_config.eos_token_id is" in faults_of(published)

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("vocab.json", POINTER, "vocab.json: it is a git-lfs pointer"),
            ("merges.txt", PAGE, "merges.txt: it is a web page"),
            ("tokenizer_config.json", "", "tokenizer_config.json: it is empty"),
            ("vocab.json", "[1", "the tokenizer cannot be loaded"),
            ("tokenizer_config.json", "[]", "the tokenizer cannot be loaded"),
            ("tokenizer.json", "{}", "the tokenizer cannot be loaded"),
        ],
    )
    def test_files_that_make_none_are_named(self, published, name, content, said):
        edit(published / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
        (published / name).write_text(content)
        message = faults_of(published)
        assert said in message
        assert name in message
        assert "1 fault." in message
        with pytest.raises(CheckpointError, match="the tokenizer cannot be loaded") as caught:
            load_tokenizer(published)
        assert name in str(caught.value)

    def test_each_pointer_is_a_fault(self, published):
        for name in ("vocab.json", "merges.txt"):
            (published / name).write_text(POINTER)
        assert "2 faults." in faults_of(published)


class TestProcessor:
    def test_defaults_are_siglips(self, published):
        written = json.loads((run(published) / PROCESSOR).read_text())
        golden = json.loads((GOLDEN / "siglip_preprocessor_config.json").read_text())
        assert golden.pop("do_convert_rgb") is None
        assert written == golden

    def test_that_of_the_towers_folder_is_taken(self, published, siglip):
        edit(siglip / PROCESSOR, processor_class="SiglipProcessor")
        out = run(published, processor=siglip)
        assert (out / PROCESSOR).read_bytes() == (siglip / PROCESSOR).read_bytes()

    def test_one_that_is_there_comes_first(self, published, siglip):
        shutil.copy(siglip / PROCESSOR, published)
        edit(siglip / PROCESSOR, image_mean=[0.4, 0.4, 0.4])
        out = run(published, processor=siglip)
        assert (out / PROCESSOR).read_bytes() == (published / PROCESSOR).read_bytes()

    def test_it_is_saved_with_every_checkpoint(self, tmp_path):
        folder = micro.checkpoint(tmp_path / "saved")
        assert json.loads((folder / PROCESSOR).read_text())["size"] == {"height": micro.SIZE, "width": micro.SIZE}
        import_weights(weights=folder, out=tmp_path / "out", frame_size=micro.SIZE)
        assert (tmp_path / "out" / PROCESSOR).read_bytes() == (folder / PROCESSOR).read_bytes()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("image_mean", [0.5, 0.5, 0.4]),
            ("image_mean", 0.4),
            ("image_mean", "mean"),
            ("image_std", [0.26862954, 0.26130258, 0.27577711]),
            ("image_std", []),
            ("rescale_factor", 1 / 127.5),
            ("rescale_factor", None),
            ("resample", 2),
            ("resample", None),
            ("do_resize", False),
            ("do_rescale", False),
            ("do_normalize", None),
            ("do_center_crop", True),
            ("do_pad", True),
            ("image_processor_type", "CLIPImageProcessor"),
            ("image_processor_type", "Siglip2ImageProcessor"),
            ("size", {"height": 56, "width": 48}),
            ("size", {"shortest_edge": 56}),
            ("size", 224),
            ("size", None),
            ("size", ...),
        ],
    )
    def test_other_settings_are_refused(self, published, siglip, key, value):
        edit(siglip / PROCESSOR, **{key: value})
        message = faults_of(published, processor=siglip)
        assert "1 fault." in message
        assert f"{siglip / PROCESSOR}: {key} is {None if value is ... else value!r}, needed" in message
        assert ("frames.size is 56" in message) == (key == "size")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("image_mean", 0.5),
            ("image_mean", None),
            ("image_std", ...),
            ("size", 56),
            ("resample", ...),
            ("do_convert_rgb", True),
            ("do_center_crop", False),
            ("image_processor_type", "SiglipImageProcessorFast"),
            ("image_processor_type", ...),
            ("processor_class", "LlavaProcessor"),
        ],
    )
    def test_other_spellings_are_not(self, published, siglip, key, value):
        edit(siglip / PROCESSOR, **{key: value})
        run(published, processor=siglip)

    def test_a_folder_without_one_is_not_taken_for_the_defaults(self, published, qwen):
        assert f"{qwen / PROCESSOR}: no such file" in faults_of(published, processor=qwen)

    @pytest.mark.parametrize(("content", "said"), [(PAGE, "web page"), ("[]", "found list"), ("{", "not a JSON file")])
    def test_broken_ones_are_named(self, published, content, said):
        (published / PROCESSOR).write_text(content)
        message = faults_of(published)
        assert PROCESSOR in message
        assert said in message

    def test_frames_of_another_size_are_refused(self, published, siglip):
        message = faults_of(published, processor=siglip, frame_size=48)
        assert f"{published / 'config.json'}: vision_config.image_size is 56, frames.size is 48" in message
        assert "set frames.size to 56" in message
        assert f"{siglip / PROCESSOR}: size is {{'height': 56, 'width': 56}}, needed" in message

    def test_frames_of_another_size_are_refused_without_a_processor(self, published):
        assert "1 fault." in faults_of(published, frame_size=48)


def lose_key(folder):
    rewrite(folder, lambda weights: {key: tensor for key, tensor in weights.items() if key != NORM})


def lose_shard(folder):
    in_shards(folder)
    shard_of(folder).unlink()


def cut_shard(folder):
    in_shards(folder)
    path = shard_of(folder)
    path.write_bytes(path.read_bytes()[:-1])


def point_to_shard(folder):
    in_shards(folder)
    shard_of(folder).write_text(POINTER)


def name_absent_key(folder):
    in_shards(folder)
    edit(folder / INDEX, weight_map=read_map(folder) | {"connector.ghost": shard_of(folder).name})


def read_map(folder):
    return json.loads((folder / INDEX).read_text())["weight_map"]


def move_key_in_index(folder):
    in_shards(folder)
    other = next(name for name in sorted(set(read_map(folder).values())) if name != shard_of(folder).name)
    edit(folder / INDEX, weight_map=read_map(folder) | {NORM: other})


def hide_key_in_index(folder):
    in_shards(folder)
    edit(folder / INDEX, weight_map={key: name for key, name in read_map(folder).items() if key != NORM})


def lose_index(folder):
    in_shards(folder)
    (folder / INDEX).unlink()


def index_of(content):
    def change(folder):
        in_shards(folder)
        (folder / INDEX).write_text(content)

    return change


def both_forms(folder):
    whole = (folder / WEIGHTS).read_bytes()
    in_shards(folder)
    (folder / WEIGHTS).write_bytes(whole)


def content_of(text):
    return lambda folder: (folder / WEIGHTS).write_text(text)


def pickled(name):
    def change(folder):
        weights = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        (folder / name).parent.mkdir(exist_ok=True)
        torch.save(weights, folder / name)

    return change


def settings_beside_nothing(folder):
    (folder / WEIGHTS).unlink()
    (folder / "training_args.bin").write_bytes(b"\x80\x02")


def dangle(folder):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("../blobs/4d7a")


def widen(weights):
    weights[NORM] = torch.zeros(65)


FAULTS = {
    "missing key": (lose_key, ["missing: connector._connector.norm.bias (64,)"]),
    "unexpected key": (
        change_weights(lambda weights: weights.update(extra=torch.zeros(2, 3))),
        ["unexpected: extra (2, 3)"],
    ),
    "shape": (
        change_weights(widen),
        ["shape of connector._connector.norm.bias: stored (65,), config.json asks for (64,)"],
    ),
    "type": (
        change_weights(lambda weights: weights.update({NORM: weights[NORM].double()})),
        ["type of connector._connector.norm.bias: stored as F64; allowed: F32, BF16, F16"],
    ),
    "whole numbers": (
        change_weights(lambda weights: weights.update({NORM: weights[NORM].to(torch.int8)})),
        ["stored as I8"],
    ),
    "tied, but different": (
        change_weights(untie),
        [f"text_config.tie_word_embeddings is true, but {TIED} differs from {EMBEDDING}"],
    ),
    "neither of the tied": (
        change_weights(lambda weights: {key: tensor for key, tensor in weights.items() if key != EMBEDDING}),
        [f"missing: {TIED} (512, 64)", f"missing: {EMBEDDING} (512, 64)"],
    ),
    "untied, one stored": (
        lambda folder: edit(folder / "config.json", text_config__tie_word_embeddings=False),
        [f"missing: {TIED} (512, 64)"],
    ),
    "shard missing": (lose_shard, ["model-00006-of-00008.safetensors: no such file; was the download"]),
    "shard cut short": (cut_shard, ["model-00006-of-00008.safetensors: cannot be read", "was it cut short?"]),
    "shard is a pointer": (point_to_shard, ["model-00006-of-00008.safetensors: cannot be read", "git-lfs pointer"]),
    "index names a key that is not there": (name_absent_key, [f"connector.ghost is not in it, where {INDEX} places it"]),
    "index names the wrong shard": (
        move_key_in_index,
        [f"{NORM} is in it, where {INDEX} does not place it", f"{NORM} is not in it, where {INDEX} places it"],
    ),
    "shard holds a key too many": (hide_key_in_index, [f"{NORM} is in it, where {INDEX} does not place it"]),
    "index missing": (lose_index, [f"{INDEX}: no such file, so model-00001-of-"]),
    "index is a page": (index_of(PAGE), [f"{INDEX}: it is a web page"]),
    "index without a map": (index_of("{}"), [f"{INDEX}: no object with a weight_map"]),
    "index of nothing": (index_of('{"weight_map": {}}'), [f"{INDEX}: weight_map names []"]),
    "index leads elsewhere": (index_of('{"weight_map": {"a": "../b.safetensors"}}'), ["in the same folder"]),
    "index of lists": (index_of('{"weight_map": {"a": ["b"]}}'), [f"{INDEX}: no object with a weight_map"]),
    "one file and shards": (both_forms, [f"both {WEIGHTS} and {INDEX}"]),
    "pointer": (content_of(POINTER), [f"{WEIGHTS}: cannot be read", "it is a git-lfs pointer", "git lfs pull"]),
    "page": (content_of(PAGE), [f"{WEIGHTS}: cannot be read", "it is a web page", "/resolve/"]),
    "empty": (content_of(""), ["it is empty"]),
    "text": (content_of("Access to this model is restricted."), ["was it cut short?"]),
    "pickle": (pickled("pytorch_model.bin"), ["pytorch_model.bin: pickled weights, which can run code", "weights_only=True"]),
    "pickled parts": (pickled("connector/pytorch_model.bin"), ["connector/pytorch_model.bin: pickled weights"]),
    "pickle by another name": (pickled(WEIGHTS), [f"{WEIGHTS}: cannot be read", "it holds pickled weights"]),
    "no weights": (settings_beside_nothing, [f"{WEIGHTS}: no such file; was the download"]),
    "dangling link": (dangle, [f"{WEIGHTS}: a link to ../blobs/4d7a, which is not there"]),
}  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_weights(self, published, fault):
        """Importing and loading find the same."""
        breaks, said = FAULTS[fault]
        breaks(published)
        message = faults_of(published)
        for part in said:
            assert part in message
        lines = message.splitlines()[1:]
        assert len(lines) == (2 if fault in ("neither of the tied", "index names the wrong shard") else 1)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(published)
        assert str(caught.value).splitlines()[1:] == lines

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"model_type": "qwen2"}, "model_type is 'qwen2'; expected 'tinyllava'"),
            ({"text_config__model_type": "phi"}, "text_config.model_type is 'phi'; expected 'qwen2'"),
            ({"vision_config__model_type": "clip_vision_model"}, "expected 'siglip_vision_model'"),
            ({"vision_config": ...}, "vision_config is None; expected the nested configuration"),
            ({"num_queries": ...}, "num_queries is missing"),
            ({"text_config__hidden_size": "64"}, "'hidden_size'"),
            ({"vision_feature_layer": "last"}, "config.json"),
            ({"text_config__hidden_act": "swoosh"}, "no model can be built of it"),
            ({"text_config__num_attention_heads": 0}, "no model can be built of it"),
        ],
    )
    def test_configurations_of_other_models(self, published, changes, said):
        edit(published / "config.json", **changes)
        message = faults_of(published)
        assert said in message
        assert f"{published / 'config.json'}: " in message
        assert "1 fault." in message

    @pytest.mark.parametrize(
        ("content", "said"), [(PAGE, "it is a web page"), ("{", "cut short"), ("[]", "found list"), ("", "it is empty")]
    )
    def test_broken_configurations(self, published, content, said):
        (published / "config.json").write_text(content)
        assert said in faults_of(published)
        with pytest.raises(CheckpointError, match=said):
            load_checkpoint(published)

    def test_missing_configuration_and_folder(self, published, tmp_path):
        (published / "config.json").unlink()
        assert f"{published / 'config.json'}: no such file" in faults_of(published)
        with pytest.raises(CheckpointError, match="nowhere: no such folder; download"):
            import_weights(weights=tmp_path / "nowhere", out=tmp_path / "out", frame_size=SIZE)

    def test_broken_generation_settings(self, published):
        (published / "generation_config.json").write_text("{")
        assert "generation_config.json: not a JSON file" in faults_of(published)

    def test_all_are_listed(self, published, siglip):
        cut_shard(published)
        min(published.glob("*.safetensors")).unlink()
        edit(published / "tokenizer_config.json", eos_token="<|im_end|>")
        edit(siglip / PROCESSOR, resample=2, do_rescale=False)
        message = faults_of(published, processor=siglip, frame_size=48)
        parts = (
            "image_size is 56", "eos_token is", "resample is 2", "do_rescale is False", "size is {", "was it cut short",
            "no such file",
        )  # fmt: skip
        for part in parts:
            assert part in message
        assert f"{len(parts)} faults." in message

    def test_all_are_listed_without_a_configuration(self, published, siglip):
        (published / "config.json").write_text(PAGE)
        (published / "vocab.json").write_text(POINTER)
        (published / WEIGHTS).write_text(POINTER)
        edit(siglip / PROCESSOR, resample=2)
        message = faults_of(published, processor=siglip)
        assert "4 faults." in message
        for part in ("config.json: it is", "vocab.json: it is", "resample is 2", f"{WEIGHTS}: cannot be read"):
            assert part in message

    def test_long_lists_are_cut_and_counted(self, published):
        rewrite(published, lambda weights: {NORM: weights[NORM]})
        keys = json.loads((GOLDEN / "keys.json").read_text())["state_dict"]
        message = faults_of(published)
        assert f"{len(keys) - 1} faults." in message
        lines = [line.strip() for line in message.splitlines()]
        assert len(lines) == 1 + FAULTS_LISTED + 1
        assert lines[-1] == f"and {len(keys) - 1 - FAULTS_LISTED} more"


class TestTypes:
    def test_saved_type_is_that_of_the_weights(self, published, tmp_path):
        rewrite(published, cast(torch.bfloat16))
        edit(published / "config.json", torch_dtype="bfloat16")
        out = run(published)
        assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
        for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16"), (torch.float16, "float16")):
            save_checkpoint(load_checkpoint(out, dtype), tmp_path / name, shard_bytes=SHARD_BYTES)
            assert json.loads((tmp_path / name / "config.json").read_text())["torch_dtype"] == name
            assert {tensor.dtype for tensor in checkpoint.read_weights(tmp_path / name).values()} == {dtype}
            again = load_checkpoint(tmp_path / name, dtype)
            assert_same(again, load_checkpoint(out, dtype))
