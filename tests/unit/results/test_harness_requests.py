"""Requests of lmms-eval in this project's words, without lmms-eval: arguments, turns, frames, decoding, outputs, comparison."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vidreason.artifacts.digests import sha256_text
from vidreason.engine.ask import load, question_of
from vidreason.engine.generation import Decoding
from vidreason.records import IMAGE, ClipRef
from vidreason.results.release.judges import lmms_eval_model
from vidreason.results.release.judges.agreement import OwnAnswer, Verdict, agreement, rows_of, verdicts
from vidreason.results.release.judges.harness_requests import (
    UNANSWERED_TEXT,
    RequestError,
    Settings,
    Turn,
    decoding_of,
    frames_of,
    output_of,
    read_turn,
    settings_of,
    trained_question,
)
from vidreason.results.release.judges.harness_tasks import LocalTasks
from vidreason.results.release.judges.lmms_eval_model import VidReason
from vidreason.tasks.markup import ANSWER, completion_of
from vidreason.world.encode import encode, timing
from vidreason.world.scenes import make_scene

SETTINGS = Settings("weights")
REASONED = completion_of("it falls", "B")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    encode(make_scene(0), path, timing(4.0, "mp4"), "mp4")
    return path


def picture(level: int) -> Image.Image:
    return Image.new("RGB", (8, 6), (level, level, level))


def user(*parts: object) -> list[dict]:
    return [{"role": "user", "content": [part if isinstance(part, dict) else text(part) for part in parts]}]


def text(words: object) -> dict:
    return {"type": "text", "text": words}


def video(url: object, **bounds: float) -> dict:
    return {"type": "video", "url": url, **bounds}


class TestArguments:
    def test_what_the_harness_adds_is_taken(self) -> None:
        given = settings_of({"pretrained": "w", "batch_size": "8", "max_batch_size": 4, "device": None, "frames": 32})
        assert given == Settings("w", frames=32, batch_size=8)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "there is no pretrained=FOLDER"),
            ({"pretrained": 7}, "pretrained is 7; allowed: the path"),
            (
                {"pretrained": "w", "prompts": "task"},
                r"unknown argument prompts=task; allowed: .*did you mean prompt\?",
            ),
            ({"pretrained": "w", "prompt": "own"}, "prompt is 'own'; allowed: task, trained"),
            ({"pretrained": "w", "style": "think"}, "style is 'think'; allowed: reason, option"),
            ({"pretrained": "w", "precision": "fp8"}, "precision is 'fp8'; allowed: "),
            ({"pretrained": "w", "frames": 0}, "frames is 0; allowed: a whole number from 1"),
            ({"pretrained": "w", "frames": True}, "frames is True"),
            ({"pretrained": "w", "batch_size": "auto"}, "batch_size is 'auto'; allowed"),
            ({"pretrained": "w", "max_new_tokens": 1.5}, "max_new_tokens is 1.5"),
        ],
    )
    def test_others_are_refused(self, arguments: dict, message: str) -> None:
        with pytest.raises(RequestError, match=message):
            settings_of(arguments)

    def test_without_the_harness_the_model_says_what_is_missing(self, monkeypatch) -> None:
        monkeypatch.setattr("vidreason.results.release.judges.lmms_eval_model._Model", object)
        with pytest.raises(
            RequestError, match="lmms-eval is not installed in this environment; `make judge` makes one"
        ):
            VidReason(pretrained="w")


class TestTurns:
    def test_a_video_and_texts(self) -> None:
        messages = [{"role": "system", "content": "Be brief. "}, *user(video("a.mp4"), "What falls?\n")]
        assert read_turn(messages, "t:0") == Turn("Be brief.\nWhat falls?", ClipRef("a.mp4"))

    @pytest.mark.parametrize(
        "part",
        [
            video("a.mp4", start_time=1.0, end_time=2.5),
            video({"path": "a.mp4", "video_start": 1.0, "video_end": 2.5}),
        ],
    )
    def test_bounds_in_either_form(self, part: dict) -> None:
        assert read_turn(user(part, "Why?"), "t:0").clip == ClipRef("a.mp4", start=1.0, end=2.5)

    def test_one_bound_reaches_to_the_end_of_the_video(self) -> None:
        assert read_turn(user(video("a.mp4", start_time=1.0)), "").clip == ClipRef("a.mp4", start=1.0, end=np.inf)
        assert read_turn(user(video("a.mp4", end_time=2.0)), "").clip == ClipRef("a.mp4", start=0.0, end=2.0)

    def test_pictures(self) -> None:
        shown = [{"type": "image", "url": picture(level)} for level in (0, 50)]
        assert len(read_turn(user(*shown, "Which?"), "").pictures) == 2
        named = {"type": "image", "url": "a.png"}
        assert read_turn(user(named, "Which?"), "").clip == ClipRef("a.png", IMAGE)

    @pytest.mark.parametrize(
        ("messages", "message"),
        [
            (user("What falls?"), "t:7: the prompt holds 0 videos and 0 pictures; this model looks at one video"),
            (user(video("a.mp4"), video("b.mp4")), "2 videos and 0 pictures"),
            (user(video("a.mp4"), {"type": "image", "url": picture(0)}), "1 videos and 1 pictures"),
            (user(video("a.mp4"), {"type": "audio", "url": "a.wav"}), "t:7: the prompt holds audio"),
            (user(video("https://a.b/c.mp4")), "https://a.b/c.mp4 is on the web; download it"),
            (user(video(3)), "the video is a int; allowed: the path of a file"),
            ([*user("A?"), {"role": "assistant", "content": "B"}], "run with --num_fewshot 0"),
        ],
    )
    def test_what_cannot_be_looked_at_is_refused(self, messages: list[dict], message: str) -> None:
        with pytest.raises(RequestError, match=message):
            read_turn(messages, "t:7")


class TestFrames:
    def test_of_a_video_at_even_distances(self, clip) -> None:
        frames = frames_of(Turn("", ClipRef(str(clip))), "t:0", 4, 32)
        last = frames.indices[-1]
        assert frames.indices.tolist() == np.linspace(0, last, 4, dtype=int).tolist()
        assert last > 8
        assert frames.pixels.shape == (4, 32, 32, 3)
        assert frames.key == str(clip)

    def test_of_a_part(self, clip) -> None:
        whole = frames_of(Turn("", ClipRef(str(clip))), "t:0", 4, 8)
        part = frames_of(Turn("", ClipRef(str(clip), start=2.0, end=np.inf)), "t:0", 4, 8)
        assert part.indices[0] > 0
        assert part.indices[-1] == whole.indices[-1]
        assert part.key != whole.key

    def test_of_pictures(self) -> None:
        frames = frames_of(Turn("", None, tuple(picture(level) for level in range(0, 250, 50))), "t:3", 3, 4)
        assert frames.indices.tolist() == [0, 2, 4]
        assert frames.pixels[:, 0, 0, 0].tolist() == [0, 100, 200]
        assert frames.key == "t:3"

    def test_a_file_that_is_a_picture_after_all(self, tmp_path) -> None:
        picture(90).save(tmp_path / "still.png")
        frames = frames_of(Turn("", ClipRef(str(tmp_path / "still.png"))), "t:0", 2, 4)
        assert frames.pixels[:, 0, 0, 0].tolist() == [90, 90]

    @pytest.mark.parametrize("name", ["absent.mp4", "broken.mp4"])
    def test_a_video_that_cannot_be_used(self, tmp_path, name) -> None:
        (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 50)
        with pytest.raises(RequestError, match=rf"t:5: .*{name} cannot be used \(.*unusable=wrong"):
            frames_of(Turn("", ClipRef(str(tmp_path / name))), "t:5", 4, 8)


GREEDY = {"max_new_tokens": 16, "temperature": 0.7, "do_sample": False, "num_beams": 1, "until": ["\n\n"]}


class TestDecoding:
    def test_a_tasks_limit_counts_an_answer_without_a_thought(self) -> None:
        assert decoding_of(GREEDY, SETTINGS, "option", "") == Decoding(16, 0.0)
        assert decoding_of(GREEDY, SETTINGS, "reason", "") == Decoding(1024, 0.0)
        own = dataclasses.replace(SETTINGS, max_new_tokens=72)
        assert decoding_of(GREEDY, own, "reason", "") == decoding_of(GREEDY, own, "option", "") == Decoding(72, 0.0)

    def test_sampling_is_as_the_task_wants_it(self) -> None:
        wanted = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
        assert decoding_of(wanted, SETTINGS, "reason", "") == Decoding(1024, 0.7, 0, 0.9)

    def test_beams_and_other_values_are_refused(self) -> None:
        with pytest.raises(RequestError, match="t:1: num_beams is 4; allowed: 1"):
            decoding_of({"num_beams": 4}, SETTINGS, "reason", "t:1")
        with pytest.raises(RequestError, match=r"t:1: generation_kwargs .*top_p must be above 0"):
            decoding_of({"do_sample": True, "temperature": 1, "top_p": 2.0}, SETTINGS, "reason", "t:1")


class TestOutputs:
    @pytest.mark.parametrize(
        ("completion", "style", "expected"),
        [
            (REASONED, "reason", f"{REASONED.partition(ANSWER)[0]}B"),
            ("B", "reason", "B"),
            ("no blocks at all", "reason", "no blocks at all"),
            ("B. a dog", "option", "B. a dog"),
        ],
    )
    def test_the_answer_stands_bare_behind_the_thought(self, completion: str, style: str, expected: str) -> None:
        assert output_of(completion, style, "answer") == expected

    def test_the_completion_itself(self) -> None:
        assert output_of(REASONED, "reason", "text") == REASONED

    def test_an_answer_is_cut_where_the_task_stops_and_a_thought_is_not(self) -> None:
        completion = completion_of("first\n\nthen", "B\n\nC")
        cut = output_of(completion, "reason", "answer", ["\n\n"])
        assert cut.endswith(" B")
        assert "first\n\nthen" in cut

    def test_no_task_reads_a_letter_in_the_output_of_an_unusable_video(self) -> None:
        assert UNANSWERED_TEXT.islower()
        assert UNANSWERED_TEXT.isalpha()


class TestTrainedPrompts:
    def test_records_of_known_tasks(self) -> None:
        record = {"video": "a.mp4", "question": "Why?", "candidates": ["x", "y"], "answer": "y"}
        question = trained_question("local_mvbench_moving_count", record, 3)
        assert question is not None
        assert (question.id, question.options, question.gold) == ("moving_count-3", ("x", "y"), "B")
        assert trained_question("mvbench_moving_count", record, 3) == question

    def test_other_tasks_have_no_reader(self) -> None:
        assert trained_question("mmvu_val", {}, 0) is None

    def test_a_malformed_record_is_named(self) -> None:
        with pytest.raises(RequestError, match=r"task videomme, document 4: .*videoID"):
            trained_question("videomme", {"question": "Why?"}, 4)


OURS = OwnAnswer("p1", [0, 4], "text", "A", True)
SAME = Verdict("local_videomme", "video_mme", "q1", True, True, True, ("A", True), ("A", True))


class TestAgreement:
    @pytest.mark.parametrize(
        ("changes", "cause"),
        [
            ({}, ""),
            ({"theirs": (None, False)}, "reading"),
            ({"completions": False}, "batch"),
            ({"completions": False, "prompts": False}, "prompt"),
            ({"completions": False, "prompts": False, "frames": False}, "frames"),
        ],
    )
    def test_causes(self, changes: dict, cause: str) -> None:
        assert dataclasses.replace(SAME, **changes).cause == cause

    def test_every_differing_verdict_is_listed_with_its_cause(self) -> None:
        found = [SAME, dataclasses.replace(SAME, question="q2", ours=("E", True), theirs=(None, False))]
        written = " ".join(agreement(found).split())
        assert "| all | 2 | 2 | 2 | 2 | 2 | 1 | 1 |" in written
        assert "1 verdicts differ by reading: same completion" in written
        assert "video_mme q2: we read E (right), lmms-eval None (wrong)" in written
        assert "q1" not in written
        assert rows_of(found)[1][-2:] == (0, "reading")

    def test_what_the_harness_logged_is_compared(self, tmp_path) -> None:
        local = LocalTasks(tmp_path, tmp_path, {"local_videomme": "video_mme"})
        (tmp_path / "requests.jsonl").write_text(
            '{"task": "local_videomme", "document": 0, "question": "q1", "frames": [0, 5], "prompt_sha256": "p1", "text": "text"}\n'
        )
        log = tmp_path / "1_samples_local_videomme.jsonl"
        log.write_text('{"doc_id": 0, "videomme_perception_score": {"pred_answer": "A", "score": 1.0}}\n')
        assert verdicts(local, tmp_path, {("video_mme", "q1"): OURS}) == [dataclasses.replace(SAME, frames=False)]
        with pytest.raises(RequestError, match="video_mme has no scored question 'q1'"):
            verdicts(local, tmp_path, {})
        log.write_text('{"doc_id": 1, "videomme_perception_score": {"pred_answer": "A", "score": 1.0}}\n')
        with pytest.raises(RequestError, match="no request of task local_videomme, document 1"):
            verdicts(local, tmp_path, {("video_mme", "q1"): OURS})
        log.write_text('{"doc_id": 0, "videomme_perception_score": {"pred_answer": "A"}}\n')
        with pytest.raises(RequestError, match="lmms-eval logs no score"):
            verdicts(local, tmp_path, {("video_mme", "q1"): OURS})
        log.unlink()
        with pytest.raises(RequestError, match="has logged no samples of task local_videomme"):
            verdicts(local, tmp_path, {})


BASE = Path(__file__).parents[3] / "config/demo_base/checkpoint"


@pytest.fixture(scope="module")
def loaded():
    return load(BASE)


class TestModel:
    """The model behind the harness's interface, with a stand-in for its base class's state."""

    @pytest.fixture
    def model(self, loaded, monkeypatch):
        """Makes a model; the requests are about documents `(video, text)`."""

        def make(documents: list, **arguments: object) -> VidReason:
            monkeypatch.setattr(lmms_eval_model, "_Model", type("Stub", (), {}))
            monkeypatch.setattr(
                lmms_eval_model,
                "load",
                lambda weights, precision, frames, style: dataclasses.replace(loaded, frames=frames, style=style),
            )
            model = VidReason(pretrained=str(BASE), max_new_tokens=24, style="option", **arguments)
            model.task_dict = {"mmvu_val": {"test": documents}}
            model.cache_hook = SimpleNamespace(add_partial=lambda *_: None)
            return model

        return make

    @staticmethod
    def requests(documents: list, **generation: object) -> list:
        def messages(document: tuple[Path, str]) -> list[dict]:
            return user(video(str(document[0])), document[1])

        return [
            SimpleNamespace(args=("", messages, dict(generation), number, "mmvu_val", "test"), task_name="mmvu_val")
            for number in range(len(documents))
        ]

    def test_a_batch_answers_as_single_requests_do_and_as_the_checkpoint_does(self, clip, model, loaded) -> None:
        documents = [(clip, "Which thing comes last?\nA. a ball\nB. a box"), (clip, "What?\nA. red\nB. blue, or green")]
        single = model(documents, batch_size=1).generate_until(self.requests(documents))
        assert model(documents, batch_size=2).generate_until(self.requests(documents)) == single
        video, expected = loaded.encode(clip), []
        for _, words in documents:
            text, *options = words.splitlines()
            question = question_of(text, [option[3:] for option in options], prompt="mmvu")
            expected.append(loaded.answer(video, question, "option", Decoding(24, 0.0)).text)
        assert single == expected

    def test_the_log_says_what_was_asked(self, clip, model, tmp_path) -> None:
        documents = [(clip, "Which thing comes last?\nA. a ball\nB. a box")]
        model(documents, log=str(tmp_path / "log")).generate_until(self.requests(documents))
        (row,) = map(json.loads, (tmp_path / "log").read_text().splitlines())
        assert (row["task"], row["document"], row["question"], row["video"]) == ("mmvu_val", 0, None, str(clip))
        assert len(row["frames"]) == 16
        assert "Which thing comes last?\nA. a ball\nB. a box\nAnswer with the option's letter" in row["prompt"]
        assert row["prompt_sha256"] == sha256_text(row["prompt"])

    def test_a_sampled_request_is_repeatable_and_its_repetitions_differ(self, clip, model) -> None:
        documents = [(clip, "Describe the clip at length.")]
        asked = self.requests(documents, do_sample=True, temperature=3.0) * 3
        first = model(documents, batch_size=3).generate_until(asked)
        assert model(documents, batch_size=3).generate_until(asked) == first
        assert len(set(first)) > 1

    def test_unusable_videos_and_prompts_that_are_too_long(self, clip, model, tmp_path) -> None:
        documents = [(clip, "Which?\nA. x\nB. y"), (tmp_path / "absent.mp4", "Which?"), (clip, "word " * 5000)]
        with pytest.raises(RequestError, match=r"mmvu_val:1: .*absent.mp4 cannot be used \(missing\)"):
            model(documents).generate_until(self.requests(documents))
        with pytest.raises(RequestError, match=r"mmvu_val:2: the prompt has .* positions, video included"):
            model(documents).generate_until(self.requests(documents)[2:])
        log = tmp_path / "log"
        outputs = model(documents, unusable="wrong", batch_size=3, log=str(log)).generate_until(
            self.requests(documents)
        )
        assert outputs[1:] == [UNANSWERED_TEXT] * 2
        assert outputs[0] != UNANSWERED_TEXT
        statuses = {row["document"]: row["status"] for row in map(json.loads, log.read_text().splitlines())}
        assert statuses == {0: "ok", 1: "unusable_clip", 2: "prompt_too_long"}

    def test_what_is_not_supported_is_said(self, clip, model) -> None:
        documents = [(clip, "Which?")]
        asked = self.requests(documents)
        with pytest.raises(NotImplementedError, match=r"tasks mmvu_val: .*no likelihood.*generate_until"):
            model(documents).loglikelihood(asked)
        with pytest.raises(NotImplementedError, match=r"tasks mmvu_val: .*one turn"):
            model(documents).generate_until_multi_round(asked)
        with pytest.raises(
            RequestError, match=r"task mmvu_val: prompt=trained knows the records of videomme, mvbench only"
        ):
            model(documents, prompt="trained").generate_until(asked)
        with pytest.raises(RequestError, match="device is tpu, the model runs on"):
            model(documents, device="tpu")

    def test_several_processes_are_refused(self, model, monkeypatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(RequestError, match="WORLD_SIZE is 2: this model runs in one process"):
            model([])
