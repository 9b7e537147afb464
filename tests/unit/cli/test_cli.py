"""The command `vidreason`: what it prints, and bad input as one sentence and exit status 2."""

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vidreason import cli
from vidreason.engine import ask as engine
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.world.encode import encode, timing
from vidreason.world.scenes import make_scene

ROOT = Path(__file__).parents[3]
BASE = ROOT / "config/demo_base/checkpoint"
QUESTION = ["Which colour is the box?", "--option=red", "--option=blue", "--option=white", "--option=pink"]
OPTIONS = [text.partition("=")[2] for text in QUESTION[1:]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    encode(make_scene(0), path, timing(4.0, "mp4"), "mp4")
    return str(path)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A run whose arms are links to the demo's base model."""
    for folder in ("import_weights/base", "train_sft/coldstart/seed0", "train_grpo/r1/seed0", "train_grpo/r1/seed2"):
        place = tmp_path / "results/small" / folder
        place.mkdir(parents=True)
        (place / "checkpoint").symlink_to(BASE)
    sidecar = tmp_path / "results/small/train_sft/coldstart/seed0/checkpoint.provenance.json"
    known = json.loads(BASE.with_suffix(".provenance.json").read_text())
    sidecar.write_text(json.dumps({**known, "params": {"style": "option"}}))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results/small"


def call(capsys, *arguments):
    """Status, standard output and error of the command."""
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:  # from argparse
        status = stop.code
    return status, *capsys.readouterr()


def test_the_text_is_printed_and_the_answer_below_it(clip, capsys):
    status, out, err = call(capsys, "ask", clip, *QUESTION, "--weights", BASE, "--style", "option")
    reply = engine.load(BASE).ask(clip, QUESTION[0], OPTIONS, "option")
    assert reply.option in OPTIONS
    assert out == f"{reply.text}\nAnswer: {reply.answer}. {reply.option}\n"
    assert err.startswith("first text after ")
    assert status == 0


def test_json_holds_the_reply(clip, capsys):
    status, out, _ = call(capsys, "ask", clip, *QUESTION, "--weights", BASE, "--json", "--seed", "3")
    row = json.loads(out)
    reply = engine.load(BASE).ask(clip, QUESTION[0], OPTIONS, seed=3)
    assert (status, row["text"], row["answer"], row["seed"]) == (0, reply.text, reply.answer, 3)
    assert row["options"] == OPTIONS
    assert row["thought"] == reply.thought
    assert row["style"] == "reason"


def test_a_limit_cuts_the_answer_off_and_says_so(clip, capsys):
    status, out, _ = call(capsys, "ask", clip, *QUESTION, "--weights", BASE, "--max-new-tokens", "3")
    assert status == 0
    assert "(cut off after 3 tokens)" in out
    assert "No answer could be read." in out


def test_interactive_encodes_once_and_goes_on_after_a_bad_line(clip, capsys, monkeypatch):
    calls = []
    encode_frames = TinyLlavaVideo.encode_frames
    monkeypatch.setattr(
        TinyLlavaVideo, "encode_frames", lambda model, pixels: calls.append(1) or encode_frames(model, pixels)
    )
    lines = "Which colour is the kite? | red | blue\nWho? | a | \nHow many things move? | one | two\n\nnever read\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    status, out, err = call(capsys, "ask", clip, "--interactive", "--json", "--weights", BASE)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["options"] for row in rows] == [["red", "blue"], ["one", "two"]]
    assert len(calls) == 1
    assert "vidreason: option 2 of 2 has no text" in err
    assert status == 2


class TestArms:
    def test_an_arm_of_a_run_answers_with_its_smallest_seed(self, clip, results, capsys, monkeypatch):
        loaded = []
        load = engine.load
        monkeypatch.setattr(engine, "load", lambda *given: loaded.append(given) or load(*given))
        assert call(capsys, "ask", clip, *QUESTION, "--arm", "r1", "--run", "small")[0] == 0
        assert call(capsys, "ask", clip, *QUESTION, "--arm", "r1", "--run", "small", "--arm-seed", "2")[0] == 0
        assert call(capsys, "ask", clip, *QUESTION, "--arm", "coldstart", "--run", "small", "--frames", "8")[0] == 0
        made = [(folder.relative_to(results).parts[:3], frames, style) for folder, _, frames, style in loaded]
        assert made == [
            (("train_grpo", "r1", "seed0"), 16, "reason"),
            (("train_grpo", "r1", "seed2"), 16, "reason"),
            (("train_sft", "coldstart", "seed0"), 8, "option"),
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--arm", "r1", "--run", "smal"],
                "run 'smal' has no folder in .*results; allowed: small .did you mean small",
            ),
            (
                ["--arm", "r2", "--run", "small"],
                "has no weights of an arm 'r2'; allowed: base, coldstart, r1$",
            ),
            (["--arm", "r1", "--run", "small", "--arm-seed", "1"], "arm 'r1' .* no weights of seed 1; allowed: 0, 2"),
            (
                ["--arm", "base", "--run", "small", "--arm-seed", "1"],
                r"no weights of seed 1; allowed: none \(given weights\)",
            ),
            (["--arm", "../small", "--run", "small"], "has no weights of an arm '../small'"),
            (["--arm", "r1", "--run", "../results/small"], "run '../results/small' has no folder"),
            ([], "which checkpoint is to answer"),
            (["--arm", "r1", "--weights", str(BASE)], "which checkpoint is to answer"),
        ],
    )
    def test_an_unknown_run_or_arm_is_refused_in_a_sentence(self, clip, results, capsys, arguments, message):
        refused(call(capsys, "ask", clip, *QUESTION, *arguments), message)

    def test_without_any_run_it_says_how_to_make_one(self, clip, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        refused(call(capsys, "ask", clip, *QUESTION, "--arm", "r1"), "there is none; `make demo` makes one")

    def test_the_frames_of_a_run_are_those_of_its_tables(self, results):
        from tests.support import micro
        from vidreason.results.release.arm_weights import find_arm

        assert find_arm("small", "r1").frames() is None
        (results / "extract_frames/nextqa").mkdir(parents=True)
        micro.write_frames(results / "extract_frames/nextqa/shard0.parquet", {"a": "ok"})
        assert find_arm("small", "r1").frames() == micro.FRAMES


def refused(result, message):
    """One line on standard error, nothing else, exit status 2."""
    import re

    status, out, err = result
    assert (status, out) == (2, "")
    assert re.search(message, err), err
    assert err.startswith("vidreason: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("video", "arguments", "message"),
    [
        ("gone.mp4", QUESTION, r"gone.mp4: cannot be used \(missing\): no such file"),
        (None, ["  "], "the question has no text"),
        (None, [], "there is no QUESTION"),
        (None, ["Who?", *(f"--option={n}" for n in range(11))], "11 options; allowed: 1 to 10"),
        (None, [*QUESTION, "--interactive"], "--interactive reads its questions from the input"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(clip, capsys, video, arguments, message):
    refused(call(capsys, "ask", video or clip, *arguments, "--weights", BASE), message)


def test_a_folder_without_weights_is_refused_in_a_sentence(clip, tmp_path, capsys):
    refused(
        call(capsys, "ask", clip, *QUESTION, "--weights", tmp_path), "config.json: no such file; a checkpoint folder"
    )
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    refused(
        call(capsys, "ask", clip, *QUESTION, "--weights", tmp_path), "model_type is 'qwen2_vl'; expected 'tinyllava'"
    )


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "9" * 19, "²"])
def test_a_seed_is_a_whole_number(clip, capsys, seed):
    status, _, err = call(capsys, "ask", clip, *QUESTION, "--weights", BASE, f"--seed={seed}")
    assert status == 2
    assert "allowed: a whole number from 0" in err


def test_control_characters_of_a_model_do_not_reach_the_terminal():
    assert cli.printable("a\x1b[2J\r\x07b\u202ec\n\td") == "a\ufffd[2J\ufffd\ufffdb\ufffdc\n\td"
    assert cli.printable("👨\u200d👩 ه\u200cم") == "👨\u200d👩 ه\u200cم"


def test_nothing_that_a_model_writes_moves_the_cursor(clip, capsys, monkeypatch):
    """The text, the option that was chosen and the JSON; what a program reads from it is what was written."""
    wild = "a\x1b[2J\x9b31m\u202e\r\x07b 🙂 ö"
    reply = engine.Reply(
        engine.question_of("Which?", [wild, "c"]), "reason", engine.Completion(wild, 1, True), "", wild, "A"
    )

    def ask(self, video, text, options, style, decoding, seed, show):
        show(wild)
        return reply

    monkeypatch.setattr(engine.Reasoner, "ask", ask)
    status, out, _ = call(capsys, "ask", clip, "Which?", "--option=b", "--weights", BASE)
    assert (status, out) == (0, f"{cli.printable(wild)}\nAnswer: A. {cli.printable(wild)}\n")
    assert not any(cli.is_control(sign) and sign != "\n" for sign in out)
    status, out, _ = call(capsys, "ask", clip, "Which?", "--option=b", "--weights", BASE, "--json")
    assert not any(cli.is_control(sign) for sign in out.removesuffix("\n"))
    assert "🙂 ö" in out
    assert (json.loads(out)["text"], json.loads(out)["option"]) == (wild, wild)


WILD_NAMES = ("a\x1b[2Jb.mp4", "a\u202eb.mp4", "a\nb\r.mp4", "<script>.mp4", "a" * 300)


@pytest.mark.parametrize("name", WILD_NAMES)
def test_a_file_name_moves_no_cursor(tmp_path, capsys, name):
    result = call(capsys, "ask", tmp_path / name, *QUESTION, "--weights", BASE)
    refused(result, r"cannot be used|neither a video")
    assert not any(cli.is_control(sign) for sign in result[2].removesuffix("\n"))
    status, out, err = call(capsys, "ask", "clip.mp4", "Which?", name)  # an argument too many
    assert (status, out) == (2, "")
    assert not any(cli.is_control(sign) and sign != "\n" for sign in err)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"Dear diary,\n" * 50, r"text.mp4: neither a video nor a picture: "),
        ("page.mp4", b"<!doctype html><title>404</title>", r"page.mp4: neither a video nor a picture: "),
        ("empty.mp4", b"", r"empty.mp4: cannot be used \(empty_file\)"),
        ("zeros.mp4", bytes(5000), r"zeros.mp4: (neither a video nor a picture|cannot be used)"),
    ],
)
def test_a_file_that_is_no_video_is_refused_in_a_sentence(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    refused(call(capsys, "ask", tmp_path / name, *QUESTION, "--weights", BASE), message)


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.95])
def test_a_truncated_video_is_refused_in_a_sentence(clip, tmp_path, capsys, keep):
    whole = Path(clip).read_bytes()
    (tmp_path / "part.mp4").write_bytes(whole[: int(keep * len(whole))])
    refused(call(capsys, "ask", tmp_path / "part.mp4", *QUESTION, "--weights", BASE), r"part.mp4: cannot be used \(")


def test_the_package_names_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["vidreason"].partition(":")
    assert getattr(sys.modules[module], function) is cli.run


def test_importing_the_package_loads_no_heavy_library():
    code = "import sys, vidreason, vidreason.cli; print(sorted({'torch', 'transformers', 'numpy', 'av'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_says_what_it_has():
    import vidreason

    assert {"load", "register", "__version__"} <= set(dir(vidreason))
    for name in vidreason._ELSEWHERE:
        assert callable(getattr(vidreason, name)), "every name leads to a module that is there"
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        vidreason.lod  # noqa: B018
