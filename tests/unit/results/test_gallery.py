"""The gallery's data: every question once, every outcome right, texts as texts, frames as they are."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.gallery_run import frame_tables, gallery_inputs, kept_rollouts, rollout, trained_questions, use_store
from tests.support.scored_run import ARMS, BENCHMARKS, RIGHT, SETTINGS, change, predictions_of, score_one
from vidreason.artifacts.files import read_jsonl, write_jsonl
from vidreason.artifacts.integrity import ChangedError
from vidreason.artifacts.provenance import write_sidecar
from vidreason.config import job_inputs, paths
from vidreason.records import Completion
from vidreason.results.gallery import texts
from vidreason.results.gallery.answers import BITS
from vidreason.results.gallery.groups import read_groups
from vidreason.results.gallery.links import main_links
from vidreason.results.gallery.thumbnails import (
    INDEX,
    Sources,
    Strip,
    draw_examples,
    make_thumbnails,
    picture_of,
    read_strips,
    write_strips,
)
from vidreason.results.gallery.write import make_gallery
from vidreason.results.report import make_report
from vidreason.tasks.markup import split_think


@pytest.fixture(autouse=True)
def frames(monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(monkeypatch)


def made(inputs: Any, out: Path) -> Path:
    make_gallery(inputs, "demo", out)
    return out


def data(folder: Path, name: str) -> Any:
    """The content of a data file, read as a browser would: one call with two strings."""
    script = (folder / "data" / f"{name}.js").read_text(encoding="ascii")
    call = re.fullmatch(r'vidreason\.add\(("[^"]+"), ("(?:[^"\\]|\\.)*")\);\n', script)
    assert call, script[:200]
    assert json.loads(call.group(1)) == name
    return json.loads(json.loads(call.group(2)))


def column(packed: str, kind: str = "u1") -> list[int]:
    return np.frombuffer(base64.b64decode(packed), dtype=f"<{kind}").tolist()


def test_every_question_and_outcome_is_in_the_index(tmp_path: Path) -> None:
    index = data(made(gallery_inputs(tmp_path), tmp_path / "out"), "index")
    assert [arm["name"] for arm in index["arms"]] == list(ARMS)
    assert [arm["name"] for arm in index["arms"] if arm["control"]] == ["r1_shuffled"]
    assert index["ids"] == [f"{name}-{number}" for name in BENCHMARKS for number in range(8)]
    assert column(index["columns"]["benchmark"]) == [0] * 8 + [1] * 8
    names = [index["categories"][place] for place in column(index["columns"]["category"], "u2")]
    assert names == ([*["order"] * 6, "count", "count"]) * 2
    for place, arm in enumerate(ARMS):
        rights = [bool(byte & BITS["right"]) for byte in column(index["outcomes"]["0"][place], "u2")]
        assert rights == [number in RIGHT[arm, name] for name in BENCHMARKS for number in range(8)]
    thinks = [bool(byte & BITS["think_true"]) for byte in column(index["outcomes"]["0"][2], "u2")]
    assert thinks == [True, False] * 8, "even questions of R1 describe the clip"
    assert all(byte & BITS["truth_known"] for byte in column(index["outcomes"]["0"][0], "u2"))


def test_unparsed_cut_off_and_unasked_answers_have_bits_of_their_own(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    answers = change(predictions_of("r1", "mlvu"), 0, completion=Completion("so it", 72, False))
    answers = change(answers, 1, status="truncated", completion=Completion())
    settings = SETTINGS | {"max_missing_fraction": 1.0}
    score_one(tmp_path, "r1", "mlvu", answers, settings=settings)
    folder = made(inputs, tmp_path / "out")
    first, second, third = column(data(folder, "index")["outcomes"]["0"][2], "u2")[8:11]
    names = [{name for name, bit in BITS.items() if byte & bit} for byte in (first, second, third)]
    assert names[0] == {"answered", "truth_known"}
    assert names[1] == {"finished"}
    assert names[2] == {"right", "read", "finished", "answered", "formed", "thinks", "truth_known", "think_true"}
    answer = data(folder, "answers_0_0000")[2][9]
    assert answer["status"] == "truncated"
    assert answer["read"] is None


def test_chunks_hold_what_the_page_counts_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "CHUNK", 6)
    monkeypatch.setattr(texts, "SEARCHED", 10)
    folder = made(gallery_inputs(tmp_path, seeds=(0, 2)), tmp_path / "out")
    sizes = [len(data(folder, f"questions_{number:04d}")["questions"]) for number in range(3)]
    assert sizes == [6, 6, 4]
    assert [[len(rows) for rows in data(folder, f"answers_2_{number:04d}")] for number in range(3)] == [
        [size] * len(ARMS) for size in sizes
    ]
    assert [len(data(folder, f"search_2_{number:04d}")) for number in range(2)] == [10, 6]
    question = data(folder, "questions_0001")["questions"][2]
    assert question["id"] == "mlvu-0", "the second chunk goes on where the first ends, across benchmarks"
    assert question["prompt"].startswith("Which thing comes <first>?\n(A) ball"), "as the data set presents it"
    answer = data(folder, "answers_0_0001")[2][2]
    assert (answer["think"].split(",")[0], answer["after"], answer["read"]) == (
        "red ball goes left",
        "<answer>A</answer>",
        "A",
    )
    assert answer["truth"] == "red ball goes left, blue box stays put"
    assert "which thing comes <first>?" in data(folder, "search_0_0000")[8]
    assert "so the answer is <b>it</b>" in data(folder, "search_0_0000")[8]


def test_a_made_gallery_is_the_same_to_the_byte_and_loads_only_itself(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    one, two = made(inputs, tmp_path / "one"), made(inputs, tmp_path / "two")
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    page = (one / "index.html").read_text()
    assert "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'" in page
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {
        "../index.html", "gallery.css", "gallery.js", "data/index.js"
    }  # fmt: skip
    script = (one / "gallery.js").read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|https?:", script
    )
    assert not re.search(r'\bon\w+="', page), "no handler stands in the markup"


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    hostile = '</script><img src=x onerror="alert(1)">\u202e\x00\u2028 =1+1'
    answers = change(predictions_of("r1", "mlvu"), 0, text=f"<think>{hostile}</think>" + "é" * 1_000_000)
    score_one(tmp_path, "r1", "mlvu", answers)
    folder = made(inputs, tmp_path / "out")
    answer = data(folder, "answers_0_0000")[2][8]
    assert answer["think"] == '</script><img src=x onerror="alert(1)">\ufffd\ufffd\u2028 =1+1'
    assert answer["after"] == "é" * 20_000 + " ... (980000 more characters)"
    assert all(path.read_bytes().isascii() for path in (folder / "data").iterdir())
    assert max(path.stat().st_size for path in (folder / "data").iterdir()) < 500_000


def test_arms_that_answered_other_questions_are_refused(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    run = next(run for run in inputs.runs.by_key.values() if (run.arm.name, run.benchmark) == ("r1", "mlvu"))
    other = replace(run.rows[0], question=replace(run.rows[0].question, id="else"))
    vars(run)["rows"] = [other, *run.rows[1:]]
    with pytest.raises(ValueError, match=r"r1/seed0/mlvu.scored.jsonl: its questions are not those of .*base.*'else'"):
        made(inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Frames


def test_a_clip_is_one_picture_with_its_times(tmp_path: Path) -> None:
    folder = made(gallery_inputs(tmp_path), tmp_path / "out")
    clips = data(folder, "questions_0000")["clips"]
    assert [clip["key"] for clip in clips] == [f"clips/{number}.mp4" for number in range(4)] * 2
    whole, broken = clips[0], clips[1]
    assert (whole["count"], whole["ratio"], whole["times"][:3]) == (16, 2.0, [0.0, 0.5, 1.0])
    with Image.open(folder / whole["file"]) as picture:
        assert picture.size == (16 * 96, 48)
        assert picture.getpixel((8 * 96 + 5, 5)) == pytest.approx((80, 80, 80), abs=3)
    assert (broken["file"], broken["why"]) == ("", "the clip has none: truncated")
    assert len(list((folder / "frames").iterdir())) == 7, "a picture a clip, not a question"


def test_small_frames_lose_nothing(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(picture_of(pixels))) as picture:
        assert np.array_equal(np.array(picture.convert("RGB")), np.concatenate(list(pixels), axis=1))


CLIPS = [(name, f"clips/{number}.mp4") for name in BENCHMARKS for number in range(4)] + [("nextqa", "train/0.mp4")]


def test_the_limit_is_shared_fairly_and_said(tmp_path: Path) -> None:
    strips = write_strips(frame_tables(tmp_path), CLIPS, 5, tmp_path)
    shown = [strip.dataset for strip in strips if strip.file]
    shares = {name: shown.count(name) for name in ("mlvu", "nextqa", "video_mme")}
    assert shares == {"mlvu": 2, "nextqa": 1, "video_mme": 2}, "what a small data set does not use goes to the others"
    left_out = next(strip for strip in strips if "gallery.clips" in strip.why)
    assert "those of 5 clips" in left_out.why
    assert left_out.times, "the prompt states times whether or not there is a picture"
    assert not any(strip.file for strip in write_strips(frame_tables(tmp_path), CLIPS, 0, tmp_path))


def test_clips_of_the_pages_examples_come_first(tmp_path: Path) -> None:
    for clip in CLIPS:
        if clip[1] != "clips/1.mp4":  # which is broken
            (shown,) = [
                strip
                for strip in write_strips(frame_tables(tmp_path), CLIPS, 3, tmp_path, [clip])
                if strip.file and strip.dataset == clip[0]
            ]
            assert (shown.dataset, shown.clip) == clip
    inputs = gallery_inputs(tmp_path, most=9)
    ids = {name: [f"{name}-{number}" for number in range(8)] for name in BENCHMARKS}
    drawn = {(name, f"clips/{int(one[-1]) // 2}.mp4") for name, own in draw_examples(ids, 0).items() for one in own}
    few = read_strips(gallery_inputs(tmp_path / "few", most=6).thumbnails)
    assert {clip for clip in drawn if few[clip].why == ""} == drawn - {(name, "clips/1.mp4") for name in BENCHMARKS}
    assert len([strip for strip in few.values() if strip.file]) == 6
    assert inputs.thumbnails


def test_a_still_picture_is_one_frame_and_an_unknown_clip_is_explained(tmp_path: Path) -> None:
    still, unknown = write_strips(
        frame_tables(tmp_path), [("nextqa", "train/1.png"), ("nextqa", "gone.mp4")], 9, tmp_path
    )
    assert still.count == 1
    assert unknown.why == "the clip has none: not in the frame tables that are there"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file": "../secret.webp"}, "'../secret.webp' with 16 frames"),
        ({"file": "0_99999.webp"}, "'0_99999.webp' with 16 frames"),
        ({"count": 0}, "with 0 frames"),
        ({"times": (0.0,)}, "with 16 frames, 1 times"),
        ({"ratio": 0.0}, "ratio 0.0"),
    ],
)
def test_an_index_of_pictures_that_are_not_in_the_folder_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    """A bundle from elsewhere copies and shows no file but its own."""
    inputs = gallery_inputs(tmp_path)
    (tmp_path / "secret.webp").write_bytes(b"of another folder")
    index = tmp_path / "thumbnails" / INDEX
    strips = read_jsonl(index, Strip)
    write_jsonl(index, [replace(strips[0], **changes), *strips[1:]])
    with pytest.raises(
        ValueError, match=re.escape(f"{index}: clip 'clips/0.mp4' of 'video_mme': ") + ".*" + re.escape(words)
    ):
        made(inputs, tmp_path / "out")


def test_thumbnails_that_were_changed_are_refused(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    write_sidecar(inputs.thumbnails, [], {}, [])
    picture = next((tmp_path / "thumbnails").glob("*.webp"))
    picture.write_bytes(picture.read_bytes() + b"!")
    with pytest.raises(ChangedError, match="thumbnails: changed since it was made"):
        made(inputs, tmp_path / "out")


def test_clips_of_training_questions_without_rollouts_are_not_shown(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    assert ("nextqa", "train/0.mp4") in read_strips(inputs.thumbnails)
    write_jsonl(inputs.rollouts[0], [])
    questions = [tmp_path / "questions" / f"{name}.jsonl" for name in BENCHMARKS]
    sources = Sources(questions, frame_tables(tmp_path), inputs.selected, inputs.rollouts)
    make_thumbnails(sources, tmp_path / "none", 0, 100)
    assert {strip.dataset for strip in read_strips(tmp_path / "none").values()} == set(BENCHMARKS)


def test_a_gallery_without_thumbnails_says_so(tmp_path: Path) -> None:
    folder = made(replace(gallery_inputs(tmp_path), thumbnails=None), tmp_path / "out")
    assert data(folder, "questions_0000")["clips"][0]["why"] == "the gallery was made without frames"
    assert list((folder / "frames").iterdir()) == []


# Groups


def test_groups_are_sorted_by_advantage_with_their_terms(tmp_path: Path) -> None:
    folder = made(gallery_inputs(tmp_path), tmp_path / "out")
    assert data(folder, "index")["groups"] == [
        {"arm": 2, "seed": 0, "step": 0, "equal": [0, 1]},
        {"arm": 2, "seed": 0, "step": 10, "equal": [0]},
    ]
    first, second = data(folder, "groups_2_0_00000000")
    assert [(one["index"], one["advantage"]) for one in first["rollouts"]] == [(1, 1.0), (2, 0.0), (0, -1.0)]
    assert first["terms"] == ["accuracy", "think_length"]
    assert first["clip"]["file"], "frames of the training set are shown where its tables are given"
    assert (second["equal"], second["rollouts"][0]["span"]) == (True, [2.0, 4.5])
    assert second["question"]["segments"] == [[1.0, 3.0], [5.0, 6.0]]
    (third,) = data(folder, "groups_2_0_00000010")
    assert [(one["view"], one["reward"]) for one in third["rollouts"]] == [
        ("ordered", 1.5), ("ordered", 0.5), ("shuffled", None), ("shuffled", None)
    ]  # fmt: skip


def test_a_question_that_a_step_draws_twice_has_two_groups(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    write_jsonl(path, [rollout(0, "t0", index, 1.0 + index) for index in (0, 1, 0, 1)])
    groups = read_groups(path, {"t0": trained_questions()[0]})
    assert [len(group.learned) for group in groups] == [2, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([rollout(3, "else", 0, 1.0)], r"step 3 has a rollout of question 'else', which is none of the 2 questions"),
        (
            [rollout(3, "t0", 0, None)],
            r"step 3 has a rollout of question 't0' without a reward and before any with one",
        ),
    ],
)
def test_rollouts_that_cannot_be_grouped_are_refused(tmp_path: Path, rows, message: str) -> None:
    inputs = gallery_inputs(tmp_path)
    write_jsonl(Path(inputs.rollouts[0]), [*kept_rollouts(), *rows])
    with pytest.raises(ValueError, match=rf"rollouts.jsonl: {message}"):
        made(inputs, tmp_path / "out")


def test_rollouts_without_the_questions_of_their_training_are_refused(tmp_path: Path) -> None:
    inputs = replace(gallery_inputs(tmp_path), selected=())
    with pytest.raises(ValueError, match=r"rollouts.jsonl: arm r1, seed 0 has no selected.jsonl among \[\]"):
        made(inputs, tmp_path / "out")


def test_an_arm_without_scores_has_no_groups(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    other = tmp_path / "train_grpo/other/seed0/rollouts.jsonl"
    write_jsonl(other, kept_rollouts())
    index = data(made(replace(inputs, rollouts=[other]), tmp_path / "out"), "index")
    assert index["groups"] == []


def test_tables_of_the_training_sets_that_grpo_learned_from() -> None:
    from tests.support.configs import demo

    run = demo()
    assert set(job_inputs.frames(run, "nextqa")) <= set(job_inputs.all_training_frames(run))
    assert paths.GALLERY.rpartition("/")[0] == paths.REPORT.rpartition("/")[0], (
        "the report links to the folder beside it"
    )


# Links


def test_every_number_of_the_main_table_leads_to_its_questions(tmp_path: Path) -> None:
    inputs = gallery_inputs(tmp_path)
    questions = [tmp_path / "questions" / f"{name}.jsonl" for name in BENCHMARKS]
    page = tmp_path / "index.html"
    make_report(replace(inputs, questions=questions), "demo", 0, page, gallery="gallery/index.html")
    found = re.findall(r'<a href="(gallery/[^"]*)">([^<]*)</a>', page.read_text())
    assert [cell for _, cell in found if cell == "-"] == [], "a dash counts no answers"
    cells = dict(reversed(found))
    assert "gallery/index.html#arm=r1&amp;seed=0&amp;outcome=malformed" in cells
    right = re.search(
        r'<a href="gallery/index.html#benchmark=video_mme&amp;arm=r1&amp;seed=0">([\d.]+) ±', page.read_text()
    )
    assert right
    assert float(right.group(1)) == 75.0
    assert len(main_links(inputs.runs, "x")) == 3 * (1 + len(BENCHMARKS) + 3)
    make_report(replace(inputs, questions=questions), "demo", 0, page)
    assert "gallery" not in page.read_text()


def test_a_thought_that_is_not_closed_goes_on_to_the_end() -> None:
    assert split_think("a <think> b <think> c </think> d </think>") == ("a", "b <think> c", "d </think>")
    assert split_think("<think> it") == ("", "it", "")
