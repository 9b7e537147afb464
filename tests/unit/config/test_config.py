"""The configuration: schema, merging, errors, resolved specs."""

import copy
import dataclasses
import functools
import json
import math
import os
import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.configs import DEMO, PAPER, ROOT, SHIPPED, demo, demos_layers, known, paper, papers_layers
from vidreason.config import job_inputs
from vidreason.config.load_runs import load_run, load_runs
from vidreason.config.optimization import GrpoRuntime, Runtime
from vidreason.config.renamed_keys import new_place
from vidreason.config.run import Run
from vidreason.config.schema import run_schema
from vidreason.config.settings import Grpo, TrainingSpec
from vidreason.config.yaml_layers import ConfigError, Layer, merge, read_layer
from vidreason.plan import describe

PAPERS = SHIPPED[:1]
TERMS = ("methods", "grpo", "rewards", "terms")


@functools.cache
def schema() -> Mapping[str, Any]:
    return run_schema(known())


def nodes(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every schema of a key, with the key's path."""
    if isinstance(node, Mapping):
        for name, child in node.get("properties", {}).items():
            yield (*path, name), child
            yield from nodes(child, (*path, name))
        for key in ("items", "additionalProperties"):
            yield from nodes(node.get(key), (*path, key))
        for name, child in node.get("$defs", {}).items():
            yield ("$defs", name), child
            yield from nodes(child, ("$defs", name))


def test_every_key_of_the_schema_is_described_and_every_object_closed() -> None:
    seen = list(nodes(schema()))
    assert len(seen) > 100
    for path, node in seen:
        assert "$ref" in node or len(node.get("description", "")) > 8, f"{path}: no description"
        if node.get("type") == "object":
            assert "additionalProperties" in node, f"{path}: open"
            assert node["additionalProperties"] is not True, f"{path}: open"


def test_schema_and_shipped_configurations_agree() -> None:
    run_paper, run_demo = paper().model_dump(), demo().model_dump()
    assert run_paper["run"] == "paper"
    assert run_demo["run"] == "demo"
    # config.yaml holds every key but those of a world; nothing is declared and then used nowhere.
    declared = {path for path, _ in nodes(schema()) if path[0] not in ("world", "base", "arms", "sources", "$defs")}
    # Of the reward terms it names those of its own reward.
    others = {(*TERMS, name) for name in set(known().terms) - {"accuracy", "format", "think_length"}}
    # Of the data sets it has those of its own run, and it limits no answer type.
    others |= {("datasets", name) for name in set(known().datasets) - set(run_paper["datasets"])}
    others |= {("selection", "rule", "per_task", name) for name in known().tasks}
    absent = {path for path in declared if not _present(run_paper, path)}
    absent = {path for path in absent if not any(path[: len(other)] == other for other in others)}
    assert absent <= {(*TERMS, "accuracy", "weight")}
    worldly = {path for path, _ in nodes(schema()) if path[0] in ("world", "base") and "items" not in path}
    assert {path for path in worldly if not _present(run_demo, path)} == set()


def _present(config: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if key in ("items", "additionalProperties"):
            return True
        if not isinstance(config, Mapping) or key not in config:
            return False
        config = config[key]
    return True


def test_every_key_of_the_papers_run_has_a_comment_with_a_source() -> None:
    for line in PAPER.read_text(encoding="utf-8").split("\narms:")[0].splitlines():
        key, _, value = line.partition(":")
        plain = value.strip().isdigit() or "shards" in key or value.strip() == "null"
        if value.strip() and not key.strip().startswith("#") and not plain:
            assert "#" in line, f"config/config.yaml: no comment: {line}"


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"evaluaton": {}}, "evaluaton", "did you mean evaluation?"),
        (
            {"evaluation": {"generation": {"decodng": "greedy"}}},
            "evaluation.generation.decodng",
            "did you mean decoding?",
        ),
        ({"evaluation": {"generation": {"decoding": "gredy"}}}, "evaluation.generation.decoding", "greedy, upstream"),
        ({"seed": -1}, "seed", "-1 is not allowed; allowed: 0 or more"),
        ({"seeds": [0, -3]}, "seeds.1", "-3 is not allowed; allowed: 0 or more"),
        ({"gallery": {"clips": -1}}, "gallery.clips", "-1 is not allowed; allowed: 0 or more"),
        ({"seeds": []}, "seeds", "1 entries or more"),
        ({"seeds": [1, 1]}, "seeds", "every entry once"),
        ({"evaluation": {"benchmarks": []}}, "evaluation.benchmarks", "1 entries or more"),
        ({"evaluation": {"benchmarks": ["mlvu", "mlvu"]}}, "evaluation.benchmarks", "every entry once"),
        ({"evaluation": {"benchmarks": ["mvbnech"]}}, "evaluation.benchmarks.0", "did you mean mvbench?"),
        (
            {"evaluation": {"benchmarks": ["nextqa"]}},
            "evaluation.benchmarks.0",
            "mlvu, mmvu, mvbench",
        ),
        ({"run": "a/b"}, "run", "matches"),
        ({"frames": {"count": "many"}}, "frames.count", "allowed: integer"),
        (
            {"datasets": {"tempkompass": {"root": "x"}}},
            "datasets.tempkompass",
            "did you mean tempcompass?",
        ),
        ({"arms": {"r1": {"parent": "coldstrat"}}}, "arms.r1.parent", "did you mean coldstart?"),
        ({"arms": {"coldstart": {"parent": "r1"}}}, "arms.coldstart.parent", "coldstart -> r1 -> coldstart"),
        ({"arms": {"sft": {"parent": "sft"}}}, "arms.sft.parent", "sft -> sft"),
        ({"arms": {"sft": {"objective": {"beta": 0.1}}}}, "arms.sft.objective", "not a key of method sft"),
        (
            {"arms": {"sft": {"runtime": {"rollout_batch": 2}}}},
            "arms.sft.runtime.rollout_batch",
            "unknown key (value 2); allowed: gradient_checkpointing",
        ),
        (
            {"arms": {"r1": {"selection": "informed"}}},
            "arms.r1.selection.strategy",
            "informative, top, band, random, all",
        ),
        ({"arms": {"r1": {"selection": 3}}}, "arms.r1.selection.strategy", "informative, top, band, random, all"),
        ({"arms": {"r1": {"selection": None}}}, "arms.r1.selection.strategy", "informative, top, band, random, all"),
        ({"arms": {"sft": {"selection": "all"}}}, "arms.sft.selection", "not a key of method sft"),
        ({"methods": {"grpo": {"views": 8}}}, "methods.grpo.views", "a section with keys among ordered, shuffled"),
        ({"arms": {"r1": {"selection": {"keep_max": 9}}}}, "arms.r1.selection", "keep_min <= keep_max <= 8"),
        ({"arms": {"r2": {"like": "r11", "label": "x"}}}, "arms.r2.like", "did you mean r1?"),
        ({"arms": {"r2": {"like": "r1"}}}, "arms.r2.label", "an arm like r1 needs words of its own"),
        ({"arms": {"r2": {"like": 3, "label": "x"}}}, "arms.r2.like", "3 is no arm"),
        ({"arms": {"r2": {"like": ["r1"], "label": "x"}}}, "arms.r2.like", '["r1"] is no arm'),
        (
            {"arms": {"r2": {"like": "r3", "label": "x"}, "r3": {"like": "r2", "label": "y"}}},
            "arms.r2.like",
            "r2 -> r3 -> r2",
        ),
        (
            {"arms": {"r1": {"rewards": {"terms": {"acuracy": {}}}}}},
            "arms.r1.rewards.terms.acuracy",
            "did you mean accuracy?",
        ),
        (
            {"methods": {"grpo": {"rewards": {"terms": {"think_length": {"full_at": 0}}}}}},
            "methods.grpo.rewards.terms.think_length.full_at",
            "0 is not allowed; allowed: 1 or more",
        ),
        (
            {"arms": {"r1": {"rewards": {"terms": {"format": None}}}}},
            "arms.r1.rewards.terms",
            "missing: format",
        ),
        (
            {
                "methods": {
                    "grpo": {
                        "rewards": {"combine": "sum", "terms": dict.fromkeys(["accuracy", "format", "think_length"])}
                    }
                }
            },
            "methods.grpo.rewards.terms",
            "{} is not allowed; allowed: one or more of accuracy, format, ",
        ),
        (
            {"evaluation": {"scoring": {"parser": "video_r1", "unparsed": "random"}}},
            "evaluation.scoring.unparsed",
            "random is not allowed with parser video_r1, whose code draws no letters; allowed: wrong",
        ),
        ({"evaluation": {"scoring": {"parser": "loose"}}}, "evaluation.scoring.parser", "video_r1, temporal_r1"),
        (
            {"methods": {"grpo": {"rewards": {"terms": {"accuracy": {"weight": 2}}}}}},
            "methods.grpo.rewards.terms.accuracy.weight",
            "2 is not allowed: tinyllava_r1 does not weigh accuracy; allowed: 1",
        ),
        (
            {"arms": {"r1": {"rewards": {"terms": {"accuracy": {"weight": 0}}}}}},
            "arms.r1.rewards.terms.accuracy.weight",
            "0 is not allowed: tinyllava_r1 does not weigh accuracy; allowed: 1",
        ),
        ({"methods": {"grpo": {"rewards": {"combine": "product"}}}}, "methods.grpo.rewards.combine", "tinyllava_r1"),
        ({"arms": {"new": {"label": "x", "method": "grpo", "style": "reason"}}}, "arms.new", "needs the key parent"),
        ({"arms": {"new": {"label": "x"}}}, "arms.new.style", "missing"),
        ({"selection": {"rule": {"keep_max": 9}}}, "selection.rule", "keep_min <= keep_max <= 8"),
        ({"selection": {"rule": {"band": [0.9, 0.1]}}}, "selection.rule.band", "allowed: the smaller share first"),
        ({"selection": {"rule": {"strategy": "top"}}}, "selection.rule.strategy", "neither; allowed: one of them"),
        (
            {"arms": {"r1": {"selection": "top"}}},
            "arms.r1.selection.strategy",
            "keeps as many as limit or per_task say",
        ),
        (
            {"arms": {"r1": {"selection": {"strategy": "all", "per_video": 2}}}},
            "arms.r1.selection.per_video",
            "2 is not allowed with the strategy all",
        ),
        (
            {"arms": {"r1": {"selection": {"per_task": {"charades": 2}}}}},
            "arms.r1.selection.per_task.charades",
            "allowed: free_form, grounded_choice, grounding",
        ),
        ({"world": {}}, "world.broken", "missing"),
        (
            {"arms": {"r1": {"data": "coldstart"}}},
            "arms.r1.data",
            '"coldstart" holds demonstrations, which method grpo cannot learn from; allowed: nextqa',
        ),
        (
            {"datasets": {"nextqa": {"filter": {"max_seconds": math.nan}}}},
            "datasets.nextqa.filter.max_seconds",
            "NaN is not allowed; allowed: number",
        ),
        ({"methods": {"grpo": {"objective": {"beta": math.inf}}}}, "methods.grpo.objective.beta", "allowed: number"),
        (
            {"methods": {"grpo": {"optimizer": {"learning_rate": "1e-6"}}}},
            "methods.grpo.optimizer.learning_rate",
            '"1e-6" is not allowed; allowed: number (for YAML this is text; write 1.0e-6)',
        ),
        ({"base": {"model": {"rope_theta": "1.5e6"}}}, "base.model.rope_theta", "write 1.5e+6"),
        ({"seeds": [1.0]}, "seeds.0", "1.0 is not allowed; allowed: integer"),
        ({"arms": {1: {"label": "x"}}}, "arms.1", "the key 1 is not allowed; allowed: a text"),
        ({"datasets": {"nextqa": {"root": ""}}}, "datasets.nextqa.root", "a text that is not empty"),
        ({"run": "paper\n"}, "run", "a text that matches"),
        ({"arms": {"base": {"weights": None}}}, "arms.base.weights", "null is not allowed; method given needs the key"),
        (
            {"arms": {"new": {"like": "base", "label": "x", "weights": None}}},
            "arms.new.weights",
            "null is not allowed; method given needs the key weights",
        ),
        (
            {"arms": {"r1": {"selection": {"strategy": "all", "limit": 2}}}},
            "arms.r1.selection.limit",
            "2 is not allowed with the strategy all, which keeps every question; allowed: null",
        ),
        (
            {"arms": {"r2": {"like": "r1", "label": "TinyLLaVA-Video-R1 "}}},
            "arms.r2.label",
            "is the label of the arm r1 too; allowed: a label for r2 alone",
        ),
        ({"arms": {"r1": {"label": ""}}}, "arms.r1.label", "a text that is not empty"),
        ({"arms": {"r1": {"label": " "}}}, "arms.r1.label", "the label is blank"),
        (
            {"arms": {"r1": {"label": "R1\nof ours"}}},
            "arms.r1.label",
            "U+000A (a control character); allowed: one line",
        ),
        ({"arms": {"r1": {"label": "R1\r"}}}, "arms.r1.label", "U+000D"),
        ({"arms": {"r1": {"label": "R1\t2"}}}, "arms.r1.label", "U+0009"),
        ({"arms": {"r1": {"label": "R1\u2028x"}}}, "arms.r1.label", "U+2028 (LINE SEPARATOR)"),
        ({"arms": {"r1": {"label": "R1 \u202e1R"}}}, "arms.r1.label", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
    ],
)
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(
    changes: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        paper(**changes)
    line = next(line for line in str(caught.value).splitlines() if f" {key}: " in line)
    assert line.startswith("change.yaml: ")
    assert words in line


@pytest.mark.parametrize(
    ("model", "key", "words"),
    [
        ({"width": 100}, "base.model.width", "allowed: a multiple of 2 x heads (8)"),
        ({"vision_width": 66}, "base.model.vision_width", "a multiple of heads"),
        ({"kv_heads": 3}, "base.model.heads", "a multiple of kv_heads"),
        ({"groups": 5}, "base.model.queries", "a multiple of groups"),
        ({"groups": 32}, "base.model.groups", "at most frames.count (16)"),
    ],
)
def test_sizes_of_the_base_model_that_do_not_fit(model: dict[str, int], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: .*{re.escape(words)}"):
        demo(base={"model": model})


def test_a_stage_without_exercises() -> None:
    stages = [{"steps": 1, "batch_size": 1, "mix": {"caption": 0}}]
    with pytest.raises(ConfigError, match=r"change.yaml: base.stages.0.mix: all shares are 0"):
        demo(base={"stages": stages})


def test_a_world_without_base_is_refused() -> None:
    world = read_layer(DEMO)[1]["world"]
    with pytest.raises(ConfigError, match="a run with world also needs base"):
        paper(world=world)


def test_a_missing_path_is_named_unless_the_run_makes_it(tmp_path: Path) -> None:
    run = paper(datasets={"nextqa": {"root": str(tmp_path / "nowhere")}})
    with pytest.raises(ConfigError, match=r"^change.yaml: datasets.nextqa.root: .*nowhere does not exist"):
        run.root("nextqa")
    (tmp_path / "nowhere").mkdir()
    assert run.root("nextqa") == str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"datasets.nextqa.annotations: .*nowhere/.*\.json does not exist"):
        run.annotations("nextqa")
    name = "0_30_s_nextqa_mc_qa_processed.json"
    (tmp_path / "nowhere" / name).touch()
    assert run.annotations("nextqa") == name
    assert run.annotations("mlvu") is None
    away = demo(arms={"base": {"weights": "nowhere/weights"}})
    with pytest.raises(ConfigError, match=r"^change.yaml: arms.base.weights: nowhere/weights does not exist"):
        away.given("base", "weights")
    assert demo().given("base", "tokenizer") is None
    assert demo().root("nextqa") == "results/demo/make_world/nextqa"


def test_a_missing_folder_is_refused_unless_it_has_been_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config/demo_base/checkpoint").mkdir(parents=True)
    demo().check_paths()  # the run makes all else that it reads
    run = demo(datasets={"mlvu": {"root": "nowhere"}})
    with pytest.raises(ConfigError, match=r"datasets.mlvu.root: nowhere does not exist"):
        run.check_paths()
    questions = tmp_path / "results/demo/questions/mlvu.jsonl"
    questions.parent.mkdir(parents=True)
    questions.touch()
    run.check_paths()
    away = demo(arms={"base": {"tokenizer": "nowhere"}})
    with pytest.raises(ConfigError, match=r"arms.base.tokenizer: nowhere does not exist"):
        away.check_paths()
    (tmp_path / "results/demo/import_weights/base/checkpoint").mkdir(parents=True)
    away.check_paths()


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("run: caf\u00e9".encode("latin-1"))
    for odd in (tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_layer(odd)
    twice = ("a: 1\nb: 2\na: 3", "the key 'a' stands twice")
    for text, words in (("a: [", "not YAML"), ("- 1", "expected keys and values"), twice):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_layer(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        read_layer(tmp_path / "none.yaml")


def test_merging_leaves_its_arguments_alone() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    before = copy.deepcopy(base)
    assert merge(base, {"a": {"y": [3]}, "c": None}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": None}
    assert base == before


def test_the_configured_run_is_the_same_however_it_is_given() -> None:
    by_name = load_runs(SHIPPED, [], [], known())
    by_file = load_runs(SHIPPED, [], [DEMO], known())
    assert repr(by_name["demo"]) == repr(by_file["demo"])
    assert list(by_name) == ["demo", "paper"], "the one configured now is the last"
    assert list(by_file) == ["paper", "demo"]
    other = load_runs(SHIPPED, ["run=demo-seed7", "seed=7", "seeds=[7]"], [DEMO], known())
    assert other["demo-seed7"].seeds == (7,)
    assert repr(other["demo"]) == repr(by_name["demo"])


@pytest.mark.parametrize("scalar", ["010", "0_1", "1_0", "0x1F", "0b11", "0o17", "1:30", "00", "-010", '"7"'])
def test_what_is_no_decimal_number_is_refused_as_a_number(tmp_path: Path, scalar: str) -> None:
    """YAML 1.1 and Snakemake's command line take 010 for 8 or 10, 1:30 for 90 and 1_0 for 10."""
    mine = tmp_path / "mine.yaml"
    for name, text, key in (("seed", scalar, "seed"), ("seeds", f"[{scalar}]", "seeds.0")):
        mine.write_text(f"{name}: {text}")
        for entries, given, where in (([f"{name}={text}"], [], "--config"), ([], [mine], str(mine))):
            with pytest.raises(ConfigError) as caught:
                load_runs(PAPERS, entries, given, known())
            shown = scalar.strip('"')
            assert f'{where}: {key}: "{shown}" is not allowed; allowed: integer (this is text: ' in str(caught.value)


def test_a_name_of_digits_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("run: 007")
    for entries, given in (([], [tmp_path / "mine.yaml"]), (["run=007"], []), (['run="7"'], [])):
        runs = load_runs(PAPERS, entries, given, known())
        assert list(runs)[-1] in ("007", "7")
    with pytest.raises(
        ConfigError, match=r"--config: run: 7 is not allowed; allowed: string \(in quotes it is a text\)"
    ):
        load_runs(PAPERS, ["run=7"], [], known())


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Y", "2024-01-01", "1:30", "007"])
def test_words_that_yaml_1_1_takes_for_something_else_are_words(tmp_path: Path, word: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"arms: {{base: {{label: {word}}}}}")
    run = load_run(papers_layers(read_layer(mine)), known())
    assert run.arms["base"].label == word
    mine.write_text(f"delete_archives: {word}")
    with pytest.raises(ConfigError, match=r"delete_archives: .* is not allowed; allowed: boolean \(true or false\)"):
        load_run(papers_layers(read_layer(mine)), known())


@pytest.mark.parametrize(("text", "value"), [("1e-6", 1e-6), ("2.5E-7", 2.5e-7), (".5", 0.5), ("+1", 1), ("1.", 1.0)])
def test_numbers_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"methods: {{grpo: {{optimizer: {{learning_rate: {text}}}}}}}")
    run = load_run(papers_layers(read_layer(mine)), known())
    assert run.methods.grpo.optimizer.learning_rate == value


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", ".NaN", "1e999"])
def test_what_is_not_finite_is_blamed_on_its_own_file(tmp_path: Path, text: str) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(f"datasets: {{nextqa: {{filter: {{max_seconds: {text}}}}}}}")
    second.write_text("seed: 1")
    with pytest.raises(ConfigError, match=rf"^{first}: datasets.nextqa.filter.max_seconds: .*allowed: number"):
        load_runs(PAPERS, ["run=x"], [first, second], known())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arms: &a {base: *a}", "holds itself through an alias"),
        ("seeds: &a [*a]", "holds itself through an alias"),
        ("a: &a {<<: *a}", "holds itself through an alias"),
        ("a: &a [{b: [*a]}]", "holds itself through an alias"),
        ("\n".join(["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]), "multiply to"),
        (
            "\n".join(["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 60)]),
            "multiply",
        ),
        ("a: " + "[" * 900 + "]" * 900, "nested"),
        ("seed: " + "9" * 5000, "a value cannot be read"),
        ("seed: !!int 0x1F", "no number in decimal digits"),
        ("seed: !!timestamp x", "could not determine a constructor"),
        ("seed: !!bool maybe", "a value cannot be read"),
        ("run: a\x00b", "not YAML"),
        ("? [a]\n: 1", "unhashable"),
    ],
)
def test_yaml_that_means_harm_is_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_layer(mine)
    assert str(caught.value).startswith(f"{mine}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_an_alias_that_is_used_as_it_is_meant(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}")
    assert read_layer(tmp_path / "mine.yaml")[1] == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_every_number_of_the_schema_has_an_upper_bound() -> None:
    for path, node in nodes(schema()):
        types = node.get("type", "")
        if {"integer", "number"}.intersection([types] if isinstance(types, str) else types):
            assert {"maximum", "exclusiveMaximum"}.intersection(node), f"{path}: no upper bound"


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"seed": 2**63}, "seed", "9223372036854775807 or less"),
        ({"seeds": [0, 2**64]}, "seeds.1", "9223372036854775807 or less"),
        ({"datasets": {"mlvu": {"shards": {"frames": 10**7}}}}, "datasets.mlvu.shards.frames", "10000 or less"),
        ({"datasets": {"mlvu": {"shards": {"predict": 10**7}}}}, "datasets.mlvu.shards.predict", "10000 or less"),
        ({"frames": {"size": 10**6}}, "frames.size", "4096 or less"),
        ({"methods": {"sft": {"epochs": 1e30}}}, "methods.sft.epochs", "10000 or less"),
        ({"methods": {"grpo": {"views": {"ordered": 10**9}}}}, "methods.grpo.views.ordered", "1024 or less"),
        ({"arms": {"r1": {"batch_size": 10**12}}}, "arms.r1.batch_size", "65536 or less"),
        ({"evaluation": {"generation": {"max_new_tokens": 10**6}}}, "evaluation.generation.max_new_tokens", "131072"),
    ],
)
def test_numbers_that_nobody_can_mean_are_refused(changes: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"change.yaml: {re.escape(key)}: .*{words}"):
        paper(**changes)


def test_the_largest_seed_is_a_seed() -> None:
    assert paper(seed=2**63 - 1).seed == 2**63 - 1


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"methods": {"grpo": {"sampling": {"max_new_tokens": 480}}}}, "methods.grpo.sampling.max_new_tokens"),
        ({"arms": {"r1": {"sampling": {"max_new_tokens": 512}}}}, "arms.r1.sampling.max_new_tokens"),
        (
            {"selection": {"generation": {"sampling": {"max_new_tokens": 5000}}}},
            "selection.generation.sampling.max_new_tokens",
        ),
        ({"evaluation": {"generation": {"max_new_tokens": 480}}}, "evaluation.generation.max_new_tokens"),
    ],
)
def test_answers_longer_than_the_base_models_context(changes: dict[str, Any], key: str) -> None:
    """The demo's model has 512 positions, of which a clip takes 32."""
    with pytest.raises(ConfigError, match=rf"change.yaml: {re.escape(key)}: .*allowed: less than 480"):
        demo(**changes)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"datasets": {"nextqa": {"root": "results/{run}/../../elsewhere"}}}, "datasets.nextqa.root"),
        ({"datasets": {"nextqa": {"root": "data/NextQA/../../../etc"}}}, "datasets.nextqa.root"),
        ({"datasets": {"coldstart": {"annotations": "data/X/../../secret.json"}}}, "datasets.coldstart.annotations"),
        ({"datasets": {"coldstart": {"annotations": "../../secret.json"}}}, "datasets.coldstart.annotations"),
        ({"datasets": {"mlvu": {"root": "./data/MVLU/.."}}}, "datasets.mlvu.root"),
        ({"arms": {"base": {"weights": "results/{run}/../other/checkpoint"}}}, "arms.base.weights"),
        ({"arms": {"base": {"tokenizer": "data/../data/x"}}}, "arms.base.tokenizer"),
    ],
)
def test_a_path_does_not_leave_what_the_graph_makes(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"change.yaml: {re.escape(key)}: .* is not allowed; allowed: "):
        paper(**changes)


@pytest.mark.parametrize(
    "path",
    [
        "x" * 300,
        "a\0b",
        pytest.param("closed/videos", marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")),
    ],
)
def test_a_path_that_no_file_can_have_or_that_may_not_be_read_is_said(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed" / "videos").mkdir(parents=True)
    (tmp_path / "given").mkdir()
    (tmp_path / "closed").chmod(0)
    monkeypatch.chdir(tmp_path)
    run = paper(datasets={"nextqa": {"root": path}, "coldstart": {"root": "given", "annotations": path}})
    try:
        with pytest.raises(
            ConfigError, match=r"change.yaml: datasets.nextqa.root: .* does not exist or cannot be read; "
        ):
            run.root("nextqa")
        with pytest.raises(
            ConfigError, match=r"change.yaml: datasets.coldstart.annotations: .* does not exist or cannot be "
        ):
            run.annotations("coldstart")
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"run": "x" * 101}, "run"),
        (
            {
                "arms": {
                    "x" * 101: {
                        "label": "x",
                        "method": "control",
                        "parent": "base",
                        "view": "gray",
                        "style": "option",
                    }
                }
            },
            "arms",
        ),
    ],
)
def test_names_that_become_names_of_files_are_not_too_long_for_them(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"change.yaml: {key}: "):
        paper(**changes)


def test_a_path_of_ones_own_may_begin_with_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert paper(datasets={"nextqa": {"root": "../videos"}}).root("nextqa") == "../videos"


def grpo_of(run: Run, arm: str = "r1") -> Grpo:
    """What decides the weights of a GRPO arm."""
    settings = run.spec(arm, 0).settings
    assert isinstance(settings, Grpo)
    return settings


def test_a_spec_holds_what_decides_the_weights_and_nothing_else() -> None:
    spec = paper().spec("r1", 3)
    assert (spec.arm, spec.seed, spec.parent, spec.settings.optimizer.learning_rate) == ("r1", 3, "coldstart", 1e-6)
    same = paper(
        evaluation={"generation": {"decoding": "upstream"}},
        selection={"rule": {"keep_max": 6}},
        arms={"r1": {"label": "other words", "selection": "all"}, "sft": {"epochs": 2}},
        methods={"sft": {"epochs": 3}},
        run="other",
    )
    assert same.spec("r1", 3) == spec
    change = {"objective": {"beta": 0.0}}
    for changes in ({"methods": {"grpo": change}}, {"arms": {"r1": change}}):
        assert grpo_of(paper(**changes)).objective.beta == 0.0
    with pytest.raises(ConfigError, match="method given is not trained; allowed: sft, coldstart, r1"):
        paper().spec("base", 0)
    with pytest.raises(ConfigError, match="r9 is no arm of this run; allowed: base, sft, coldstart, r1"):
        paper().spec("r9", 0)


def test_a_default_that_is_written_out_changes_no_spec() -> None:
    spec = paper().spec("r1", 0)
    for weight in (1, 1.0):
        terms = {"rewards": {"terms": {"accuracy": {"weight": weight}}}}
        for changes in ({"methods": {"grpo": terms}}, {"arms": {"r1": terms}}):
            assert paper(**changes).spec("r1", 0).model_dump_json() == spec.model_dump_json()


def test_what_upstream_has_in_its_code_alone() -> None:
    """TinyLLaVA-Video-R1@efe76a1; the article does not say it."""
    grpo = grpo_of(paper())
    assert (grpo.views.ordered, grpo.objective.beta, grpo.objective.kl_clamp) == (8, 0.01, 100.0)
    assert (grpo.sampling.temperature, grpo.sampling.top_k, grpo.sampling.max_new_tokens) == (1.0, 50, 512)
    assert grpo.sampling.top_p is None
    assert (grpo.advantage.std, grpo.advantage.eps) == ("unbiased", 1e-4)


@pytest.mark.parametrize("arm", ["sft", "r1"])
def test_a_spec_is_the_same_after_its_json(arm: str) -> None:
    spec = paper().spec(arm, 0)
    assert TrainingSpec.of(json.loads(spec.model_dump_json())) == spec
    with pytest.raises(ValueError, match="momentum"):
        TrainingSpec.of({**spec.model_dump(), "momentum": 0.9})


def test_what_a_device_holds_at_a_time_is_no_part_of_a_spec() -> None:
    """So a run that was short of memory resumes from its state, and a finished one is not trained again."""
    spec, runtime = paper().spec("r1", 3), paper().runtime("r1")
    assert isinstance(runtime, GrpoRuntime)
    assert "runtime" not in spec.model_dump_json()
    less = paper(
        methods={"grpo": {"runtime": {"micro_batch": 2, "save_every": 5}}},
        arms={"r1": {"runtime": {"gradient_checkpointing": False}}},
    )
    assert less.spec("r1", 3) == spec
    changed = {"micro_batch": 2, "save_every": 5, "gradient_checkpointing": False}
    assert less.runtime("r1").model_dump() == runtime.model_dump() | changed
    assert type(paper().runtime("sft")) is Runtime
    assert spec.runtime_of(json.loads(runtime.model_dump_json())) == runtime


NO_KL = """
  r1_no_kl:
    label: R1 without KL
    method: grpo
    parent: coldstart
    data: nextqa
    style: reason
    objective: {beta: 0.0}
"""
LIKE_R1 = "  r1_no_kl: {like: r1, label: R1 without KL, objective: {beta: 0.0}}\n"


@pytest.mark.parametrize(("lines", "count"), [(NO_KL, 6), (LIKE_R1, 1)])
def test_an_arm_without_kl_is_six_lines_and_an_ablation_is_one(tmp_path: Path, lines: str, count: int) -> None:
    """Six keys below the arm's name, or one line in all; the spec differs from R1's in its name and in beta alone."""
    assert len([line for line in lines.splitlines() if line.strip() and not line.endswith("r1_no_kl:")]) == count
    (tmp_path / "mine.yaml").write_text(f"arms:\n{lines}")
    run = load_run(papers_layers(read_layer(tmp_path / "mine.yaml")), known())
    r1, ablation = (run.spec(arm, 0).model_dump() for arm in ("r1", "r1_no_kl"))
    assert ablation["settings"]["objective"].pop("beta") == 0.0
    assert r1["settings"]["objective"].pop("beta") == 0.01
    assert ablation == r1 | {"arm": "r1_no_kl"}
    assert run.arms["r1_no_kl"].selection == run.arms["r1"].selection
    assert [name for name in run.arms if name not in run.arms_by("control")] == [
        "base", "sft", "coldstart", "r1", "r1_no_kl"
    ]  # fmt: skip


def test_like_may_follow_like_and_layers_may_change_either() -> None:
    one = {"a": {"like": "b", "label": "A", "epochs": 3}, "b": {"like": "r1", "label": "B"}}
    two = {"r1": {"sampling": {"top_k": 7}}, "a": {"sampling": {"temperature": 0.5}}}
    run = load_run(papers_layers(("one.yaml", {"arms": one}), ("two.yaml", {"arms": two})), known())
    settings = [grpo_of(run, arm) for arm in ("r1", "a", "b")]
    assert [one.sampling.top_k for one in settings] == [7, 7, 7]
    assert [one.sampling.temperature for one in settings] == [1.0, 0.5, 1.0]
    assert [one.epochs for one in settings] == [1, 3, 1]


def test_a_later_layer_takes_an_arm_out_with_null() -> None:
    run = load_run(papers_layers(("mine.yaml", {"controls": None, "arms": {"sft": None}})), known())
    assert list(run.arms) == ["base", "coldstart", "r1"]
    again = ("again.yaml", {"arms": {"sft": {"label": "Again", "method": "given", "weights": "w", "style": "option"}}})
    assert "sft" in load_run(papers_layers(("mine.yaml", {"arms": {"sft": None}}), again), known()).arms


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"stf": None}, "mine.yaml: arms.stf: null is not allowed; allowed: a section"),
        ({"coldstart": None}, 'arms.r1.parent: "coldstart" is no arm; allowed: base, sft'),
        (
            {"r1": None, "r2": {"like": "r1", "label": "R2"}},
            'arms.r2.like: "r1" is no arm; allowed: base, sft, coldstart',
        ),
        ({"sft": None}, 'controls.thinks.of: "sft" is no arm; allowed: base, coldstart, r1'),
    ],
)
def test_an_arm_that_is_not_there_or_that_others_need_is_not_taken_out(arms: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_run(papers_layers(("mine.yaml", {"arms": arms})), known())
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("random", ("random", 1, 7, None)),
        ({"strategy": "all"}, ("all", 1, 7, None)),
        ({"limit": 100}, ("informative", 1, 7, 100)),
        ({"strategy": "random", "keep_min": 2}, ("random", 2, 7, None)),
    ],
)
def test_an_arm_may_have_a_selection_of_its_own(selection: Any, expected: tuple[Any, ...]) -> None:
    run = paper(arms={"r2": {"like": "r1", "label": "R2", "selection": selection}})
    for arm, wanted in (("r1", ("informative", 1, 7, None)), ("r2", expected)):
        found = run.arms[arm].selection
        assert found is not None
        assert (found.strategy, found.keep_min, found.keep_max, found.limit) == wanted


def test_a_word_for_a_selection_may_be_changed_by_a_later_layer() -> None:
    one, two = ({"arms": {"r1": {"selection": value}}} for value in ("random", {"limit": 5}))
    found = load_run(papers_layers(("one.yaml", one), ("two.yaml", two)), known()).arms["r1"].selection
    assert found is not None
    assert (found.strategy, found.limit) == ("random", 5)


def test_a_null_takes_an_inherited_term_out_and_a_new_term_brings_its_own_parameters() -> None:
    def band(tokens: int) -> None:
        """A term of somebody's own."""

    more = dataclasses.replace(
        known(), terms={**known().terms, "band": band}, combinations={**known().combinations, "sum": ()}
    )

    def rewards_with(**parameters: Any) -> Mapping[str, Any]:
        change = {"combine": "sum", "terms": {"think_length": None, "band": parameters}}
        layer = ("mine.yaml", {"arms": {"r2": {"like": "r1", "label": "R2", "rewards": change}}})
        return grpo_of(load_run(papers_layers(layer), more), "r2").rewards.terms

    own = {"weight": 0.2, "tokens": 320}
    assert rewards_with(**own) == {"accuracy": {"weight": 1.0}, "format": {"weight": 0.5}, "band": own}
    with pytest.raises(ConfigError, match=r"mine.yaml: arms.r2.rewards.terms.band.tokens: missing; Parameter tokens"):
        rewards_with(weight=0.2)
    with pytest.raises(ConfigError, match=r"arms.r2.rewards.terms.band.tokens: 3.5 is not allowed; allowed: integer"):
        rewards_with(tokens=3.5)


@pytest.mark.parametrize("layers", [papers_layers, demos_layers])
def test_a_new_benchmark_needs_its_entry_and_a_place_in_the_table(layers: Callable[..., list[Layer]]) -> None:
    more = dataclasses.replace(known(), datasets={**known().datasets, "street": "benchmark"})
    entry = {"root": "/data/street", "questions": 12, "known_missing": None, "shards": {"frames": 2, "predict": 1}}
    change = {"datasets": {"street": entry}, "evaluation": {"benchmarks": ["mvbench", "street"]}}
    run = load_run(layers(("mine.yaml", change)), more)
    assert job_inputs.frames(run, "street")[1] == f"results/{run.run}/extract_frames/street/shard1.parquet"
    assert job_inputs.predictions(run, "r1", 0, "street") == [f"results/{run.run}/predict/r1/seed0/street/shard0.jsonl"]
    assert "predict" in describe(run)
    with pytest.raises(ConfigError, match=r"mine.yaml: datasets.street: unknown key .*; allowed: .*coldstart"):
        load_run(layers(("mine.yaml", change)), known())
    del change["datasets"]
    with pytest.raises(ConfigError, match=r"evaluation.benchmarks: \"street\" is not among the data sets; allowed: "):
        load_run(layers(("mine.yaml", change)), more)


@pytest.mark.parametrize(
    ("changes", "key", "place"),
    [
        ({"data": {"nextqa": {"root": "x"}}}, "data.nextqa.root", "datasets.nextqa.root"),
        ({"data": {"nextqa": 3}}, "data", "datasets"),
        ({"benchmarks": ["mvbench"]}, "benchmarks", "datasets"),
        ({"data": {"nextqa": {"max_seconds": 9}}}, "data.nextqa.max_seconds", "datasets.nextqa.filter.max_seconds"),
        ({"benchmarks": {"mlvu": {"root": "x"}}}, "benchmarks.mlvu", "datasets.mlvu "),
        ({"frames": {"shards": {"mlvu": 2}}}, "frames.shards.mlvu", "datasets.mlvu.shards.frames"),
        ({"evaluation": {"shards": {"mlvu": 2}}}, "evaluation.shards.mlvu", "datasets.mlvu.shards.predict"),
        ({"arms": {"r1": {"answer": "reason"}}}, "arms.r1.answer", "arms.r1.style"),
        ({"arms": {"r1": {"frames": "blind"}}}, "arms.r1.frames", "arms.r1.view"),
        ({"arms": {"r1": {"beta": 0.0}}}, "arms.r1.beta", "arms.r1.objective.beta"),
        ({"methods": {"sft": {"save_every": 3}}}, "methods.sft.save_every", "methods.sft.runtime.save_every"),
        ({"methods": {"grpo": {"rollouts": 3}}}, "methods.grpo.rollouts", "methods.grpo.views.ordered"),
        (
            {"methods": {"grpo": {"penalise_wrong": False}}},
            "methods.grpo.penalise_wrong",
            "methods.grpo.rewards.penalize_wrong",
        ),
        (
            {"selection": {"generation": {"top_k": 3}}},
            "selection.generation.top_k",
            "selection.generation.sampling.top_k",
        ),
    ],
)
def test_a_key_of_an_earlier_version_names_its_new_place(changes: dict[str, Any], key: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        paper(**changes)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"change.yaml: {key}: unknown key (value ")
    assert f"; it is {place}" in line
    assert line.endswith(" now")


OLD_KEYS = [
    "learning_rate",
    "schedule",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "precision",
    "gradient_checkpointing",
    "micro_batch",
    "rollout_batch",
    "offload_reference",
    "deepspeed",
    "save_every",
    "save_minutes",
    "keep_states",
    "rollouts",
    "temperature",
    "top_k",
    "max_new_tokens",
    "max_think_length",
    "length_weight",
    "penalise_wrong",
    "beta",
    "kl_clamp",
    "length_norm",
    "advantage_std",
    "advantage_eps",
    "advantage_noise",
    "validate_every",
    "validation_limit",
]


@pytest.mark.parametrize("key", OLD_KEYS)
def test_every_old_key_of_a_method_has_a_new_place_that_exists(key: str) -> None:
    place = new_place(f"methods.grpo.{key}")
    assert place is not None
    node = functools.reduce(lambda node, part: node["properties"][part], place.split("."), schema())
    assert node["description"]


def test_the_schema_file_is_the_one_that_is_derived() -> None:
    """`make schema` writes it anew."""
    path = ROOT / "workflow/schemas/write_schema.py"
    text = runpy.run_path(str(path))["schema_text"]()
    assert path.with_name("config.schema.yaml").read_text(encoding="utf-8") == text


def test_a_control_uses_its_parents_weights() -> None:
    assert demo().weights_arm("r1_gray") == "r1"
    assert demo().weights_arm("coldstart") == "coldstart"


def test_the_demo_changes_no_choice_of_the_recipe() -> None:
    """The demo may be smaller than the paper's run, but not another method."""
    small, large = demo().methods.grpo, paper().methods.grpo
    assert small.views == large.views
    assert small.advantage == large.advantage
    assert small.objective.name == large.objective.name
    assert small.rewards.combine == large.rewards.combine
    assert small.rewards.penalize_wrong == large.rewards.penalize_wrong
    weights = [{name: term.get("weight") for name, term in one.rewards.terms.items()} for one in (small, large)]
    assert weights[0] == weights[1]
    for name, arm in paper().arms.items():
        for key in ("method", "parent", "data", "style", "selection"):
            assert getattr(demo().arms[name], key) == getattr(arm, key)


def test_braces_in_a_path_are_part_of_it() -> None:
    with pytest.raises(ConfigError, match=r"a\{b\}\{ does not exist"):
        paper(datasets={"nextqa": {"root": "a{b}{"}}).root("nextqa")
