"""The configuration: schema, merging, errors, resolved specs."""

import copy
import functools
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vidreason.config.layers import ConfigError, merge, read_layer
from vidreason.config.runs import (
    RUNNING_KEYS,
    annotations_at,
    load_run,
    load_runs,
    path_at,
    resolve_arm,
    running_of,
    weights_arm,
)

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
SOURCES = ROOT / "config/sources.yaml"
PAPER = ROOT / "config/config.yaml"
DEMO = ROOT / "config/demo.yaml"


@functools.cache
def schema() -> Mapping[str, Any]:
    return read_layer(SCHEMA)[1]


def papers_layers() -> list[Any]:
    return [read_layer(SOURCES), read_layer(PAPER)]


def paper(**changes: Any) -> dict[str, Any]:
    return load_run([*papers_layers(), ("change.yaml", changes)], schema())


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
    layers = [*papers_layers(), read_layer(DEMO)]
    run_paper, run_demo = load_run(layers[:2], schema()), load_run(layers, schema())
    assert run_paper["run"] == "paper"
    assert run_demo["run"] == "demo"
    # config.yaml holds every key but those of a world; nothing is declared and then used nowhere.
    declared = {path for path, _ in nodes(schema()) if path[0] not in ("world", "base", "arms", "sources", "$defs")}
    assert {path for path in declared if not _present(run_paper, path)} == set()
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
        ({"seeds": []}, "seeds", "1 entries or more"),
        ({"seeds": [1, 1]}, "seeds", "every entry once"),
        ({"run": "a/b"}, "run", "matches"),
        ({"frames": {"count": "many"}}, "frames.count", "allowed: integer"),
        (
            {"benchmarks": {"tempcompass": {"root": "x"}}},
            "benchmarks.tempcompass",
            "allowed: video_mme, mvbench, mlvu, mmvu",
        ),
        ({"arms": {"r1": {"parent": "coldstrat"}}}, "arms.r1.parent", "did you mean coldstart?"),
        ({"arms": {"coldstart": {"parent": "r1"}}}, "arms.coldstart.parent", "coldstart -> r1 -> coldstart"),
        ({"arms": {"sft": {"parent": "sft"}}}, "arms.sft.parent", "sft -> sft"),
        ({"arms": {"sft": {"beta": 0.1}}}, "arms.sft.beta", "not a key of method sft"),
        ({"arms": {"new": {"label": "x", "method": "grpo", "answer": "reason"}}}, "arms.new", "needs the key parent"),
        ({"arms": {"new": {"label": "x"}}}, "arms.new.answer", "missing"),
        ({"selection": {"rule": {"keep_max": 9}}}, "selection.rule", "keep_min <= keep_max <= 8"),
        ({"world": {}}, "world.broken", "missing"),
        ({"arms": {"r1": {"data": "coldstart"}}}, "arms.r1.data", "allowed: 'nextqa'"),
        (
            {"data": {"nextqa": {"max_seconds": math.nan}}},
            "data.nextqa.max_seconds",
            "NaN is not allowed; allowed: number",
        ),
        ({"methods": {"grpo": {"beta": math.inf}}}, "methods.grpo.beta", "allowed: number"),
        (
            {"methods": {"grpo": {"learning_rate": "1e-6"}}},
            "methods.grpo.learning_rate",
            '"1e-6" is not allowed; allowed: number (for YAML this is text; write 1.0e-6)',
        ),
        ({"base": {"model": {"rope_theta": "1.5e6"}}}, "base.model.rope_theta", "write 1.5e+6"),
        ({"seeds": [1.0]}, "seeds.0", "1.0 is not allowed; allowed: integer"),
        ({"arms": {1: {"label": "x"}}}, "arms.1", "the key 1 is not allowed; allowed: a text"),
        ({"data": {"nextqa": {"root": ""}}}, "data.nextqa.root", "a text that is not empty"),
        ({"run": "paper\n"}, "run", "a text that matches"),
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
    layers = [*papers_layers(), read_layer(DEMO), ("mine.yaml", {"base": {"model": model}})]
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: .*{re.escape(words)}"):
        load_run(layers, schema())


def test_a_stage_without_exercises() -> None:
    stages = [{"steps": 1, "batch_size": 1, "mix": {"caption": 0}}]
    layers = [*papers_layers(), read_layer(DEMO), ("mine.yaml", {"base": {"stages": stages}})]
    with pytest.raises(ConfigError, match=r"mine.yaml: base.stages.0.mix: all shares are 0"):
        load_run(layers, schema())


def test_a_world_without_base_is_refused() -> None:
    world = read_layer(DEMO)[1]["world"]
    with pytest.raises(ConfigError, match="a run with world also needs base"):
        paper(world=world)


def test_a_missing_path_is_named_unless_the_run_makes_it(tmp_path: Path) -> None:
    layers = [*papers_layers(), ("mine.yaml", {"data": {"nextqa": {"root": str(tmp_path / "nowhere")}}})]
    run = load_run(layers, schema())
    with pytest.raises(ConfigError, match=r"^mine.yaml: data.nextqa.root: .*nowhere does not exist"):
        path_at(run, "data.nextqa.root", layers)
    (tmp_path / "nowhere").mkdir()
    assert path_at(run, "data.nextqa.root", layers) == str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"data.nextqa.annotations: .*nowhere/.*\.json does not exist"):
        annotations_at(run, "nextqa", layers)
    (tmp_path / "nowhere" / run["data"]["nextqa"]["annotations"]).touch()
    assert annotations_at(run, "nextqa", layers) == run["data"]["nextqa"]["annotations"]
    assert annotations_at(run, "mlvu", layers) is None
    demo = [*papers_layers(), read_layer(DEMO)]
    away = [*demo, ("mine.yaml", {"arms": {"base": {"weights": "nowhere/weights"}}})]
    with pytest.raises(ConfigError, match=r"^mine.yaml: arms.base.weights: nowhere/weights does not exist"):
        path_at(load_run(away, schema()), "arms.base.weights", away)
    assert path_at(load_run(demo, schema()), "data.nextqa.root", demo) == "results/demo/make_world/nextqa"


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
    shipped = [(str(SOURCES), str(PAPER)), (str(SOURCES), str(PAPER), str(DEMO))]
    by_name, _ = load_runs(shipped, [], [], SCHEMA)
    by_file, _ = load_runs(shipped, [], [DEMO], SCHEMA)
    assert repr(by_name["demo"]) == repr(by_file["demo"])
    assert list(by_name) == ["demo", "paper"], "the one configured now is the last"
    assert list(by_file) == ["paper", "demo"]
    other, layers = load_runs(shipped, ["run=demo-seed7", "seed=7", "seeds=[7]"], [DEMO], SCHEMA)
    assert other["demo-seed7"]["seeds"] == [7]
    assert layers["demo-seed7"][-1] == ("--config", {"run": "demo-seed7", "seed": 7, "seeds": [7]})
    assert repr(other["demo"]) == repr(by_name["demo"])


@pytest.mark.parametrize("scalar", ["010", "0_1", "1_0", "0x1F", "0b11", "0o17", "1:30", "00", "-010", '"7"'])
def test_what_is_no_decimal_number_is_refused_as_a_number(tmp_path: Path, scalar: str) -> None:
    """YAML 1.1 and Snakemake's command line take 010 for 8 or 10, 1:30 for 90 and 1_0 for 10."""
    mine = tmp_path / "mine.yaml"
    for name, text, key in (("seed", scalar, "seed"), ("seeds", f"[{scalar}]", "seeds.0")):
        mine.write_text(f"{name}: {text}")
        for entries, given, where in (([f"{name}={text}"], [], "--config"), ([], [mine], str(mine))):
            with pytest.raises(ConfigError) as caught:
                load_runs([(str(SOURCES), str(PAPER))], entries, given, SCHEMA)
            shown = scalar.strip('"')
            assert f'{where}: {key}: "{shown}" is not allowed; allowed: integer (this is text: ' in str(caught.value)


def test_a_name_of_digits_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("run: 007")
    for entries, given in (([], [tmp_path / "mine.yaml"]), (["run=007"], []), (['run="7"'], [])):
        runs, _ = load_runs([(str(SOURCES), str(PAPER))], entries, given, SCHEMA)
        assert list(runs)[-1] in ("007", "7")
    with pytest.raises(
        ConfigError, match=r"--config: run: 7 is not allowed; allowed: string \(in quotes it is a text\)"
    ):
        load_runs([(str(SOURCES), str(PAPER))], ["run=7"], [], SCHEMA)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Y", "2024-01-01", "1:30", "007"])
def test_words_that_yaml_1_1_takes_for_something_else_are_words(tmp_path: Path, word: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"arms: {{base: {{label: {word}}}}}")
    run = load_run([*papers_layers(), read_layer(mine)], schema())
    assert run["arms"]["base"]["label"] == word
    mine.write_text(f"delete_archives: {word}")
    with pytest.raises(ConfigError, match=r"delete_archives: .* is not allowed; allowed: boolean \(true or false\)"):
        load_run([*papers_layers(), read_layer(mine)], schema())


@pytest.mark.parametrize(("text", "value"), [("1e-6", 1e-6), ("2.5E-7", 2.5e-7), (".5", 0.5), ("+1", 1), ("1.", 1.0)])
def test_numbers_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"methods: {{grpo: {{learning_rate: {text}}}}}")
    assert load_run([*papers_layers(), read_layer(mine)], schema())["methods"]["grpo"]["learning_rate"] == value


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", ".NaN", "1e999"])
def test_what_is_not_finite_is_blamed_on_its_own_file(tmp_path: Path, text: str) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(f"data: {{nextqa: {{max_seconds: {text}}}}}")
    second.write_text("seed: 1")
    with pytest.raises(ConfigError, match=rf"^{first}: data.nextqa.max_seconds: .*allowed: number"):
        load_runs([(str(SOURCES), str(PAPER))], ["run=x"], [first, second], SCHEMA)


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
        ({"frames": {"shards": {"mlvu": 10**7}}}, "frames.shards.mlvu", "10000 or less"),
        ({"evaluation": {"shards": {"mlvu": 10**7}}}, "evaluation.shards.mlvu", "10000 or less"),
        ({"frames": {"size": 10**6}}, "frames.size", "4096 or less"),
        ({"methods": {"sft": {"epochs": 1e30}}}, "methods.sft.epochs", "10000 or less"),
        ({"methods": {"grpo": {"rollouts": 10**9}}}, "methods.grpo.rollouts", "1024 or less"),
        ({"arms": {"r1": {"batch_size": 10**12}}}, "arms.r1.batch_size", "65536 or less"),
        ({"evaluation": {"generation": {"max_new_tokens": 10**6}}}, "evaluation.generation.max_new_tokens", "131072"),
    ],
)
def test_numbers_that_nobody_can_mean_are_refused(changes: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"change.yaml: {re.escape(key)}: .*{words}"):
        paper(**changes)


def test_the_largest_seed_is_a_seed() -> None:
    assert paper(seed=2**63 - 1)["seed"] == 2**63 - 1


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"methods": {"grpo": {"max_new_tokens": 480}}}, "methods.grpo.max_new_tokens"),
        ({"arms": {"r1": {"max_new_tokens": 512}}}, "arms.r1.max_new_tokens"),
        ({"selection": {"generation": {"max_new_tokens": 5000}}}, "selection.generation.max_new_tokens"),
        ({"evaluation": {"generation": {"max_new_tokens": 480}}}, "evaluation.generation.max_new_tokens"),
    ],
)
def test_answers_longer_than_the_base_models_context(changes: dict[str, Any], key: str) -> None:
    """The demo's model has 512 positions, of which a clip takes 32."""
    layers = [*papers_layers(), read_layer(DEMO), ("mine.yaml", changes)]
    with pytest.raises(ConfigError, match=rf"mine.yaml: {re.escape(key)}: .*allowed: less than 480"):
        load_run(layers, schema())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"data": {"nextqa": {"root": "results/{run}/../../elsewhere"}}}, "data.nextqa.root"),
        ({"data": {"nextqa": {"root": "data/NextQA/../../../etc"}}}, "data.nextqa.root"),
        ({"data": {"coldstart": {"annotations": "data/X/../../secret.json"}}}, "data.coldstart.annotations"),
        ({"data": {"coldstart": {"annotations": "../../secret.json"}}}, "data.coldstart.annotations"),
        ({"benchmarks": {"mlvu": {"root": "./data/MVLU/.."}}}, "benchmarks.mlvu.root"),
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
    changes = {"data": {"nextqa": {"root": path}, "coldstart": {"root": "given", "annotations": path}}}
    layers = [*papers_layers(), ("mine.yaml", changes)]
    run = load_run(layers, schema())
    try:
        with pytest.raises(ConfigError, match=r"mine.yaml: data.nextqa.root: .* does not exist or cannot be read; "):
            path_at(run, "data.nextqa.root", layers)
        with pytest.raises(
            ConfigError, match=r"mine.yaml: data.coldstart.annotations: .* does not exist or cannot be "
        ):
            annotations_at(run, "coldstart", layers)
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
                        "frames": "gray",
                        "answer": "option",
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
    layers = [*papers_layers(), ("mine.yaml", {"data": {"nextqa": {"root": "../videos"}}})]
    assert path_at(load_run(layers, schema()), "data.nextqa.root", layers) == "../videos"


def test_a_spec_holds_what_decides_the_weights_and_nothing_else() -> None:
    spec = resolve_arm(paper(), "r1", 3)
    assert (spec["arm"], spec["seed"], spec["parent"], spec["learning_rate"]) == ("r1", 3, "coldstart", 1e-6)
    same = paper(
        evaluation={"generation": {"decoding": "upstream"}},
        selection={"rule": {"keep_max": 6}},
        arms={"r1": {"label": "other words"}, "sft": {"epochs": 2}},
        methods={"sft": {"epochs": 3}},
        run="other",
    )
    assert resolve_arm(same, "r1", 3) == spec
    for change in ({"methods": {"grpo": {"beta": 0.0}}}, {"arms": {"r1": {"beta": 0.0}}}):
        assert resolve_arm(paper(**change), "r1", 3)["beta"] == 0.0
    with pytest.raises(ConfigError, match="method given is not trained; allowed: sft, coldstart, r1"):
        resolve_arm(paper(), "base", 0)


def test_what_a_device_holds_at_a_time_is_no_part_of_a_spec() -> None:
    """So a run that was short of memory goes on from its state, and a finished one is not trained again."""
    spec, running = resolve_arm(paper(), "r1", 3), running_of(paper(), "r1")
    assert sorted(running) == sorted(RUNNING_KEYS)
    assert not running.keys() & spec.keys()
    assert running.keys() | spec.keys() >= paper()["methods"]["grpo"].keys()
    less = paper(methods={"grpo": {"micro_batch": 2, "save_every": 5}}, arms={"r1": {"gradient_checkpointing": False}})
    assert resolve_arm(less, "r1", 3) == spec
    changed = {"micro_batch": 2, "save_every": 5, "gradient_checkpointing": False}
    assert running_of(less, "r1") == running | changed
    running = ["gradient_checkpointing", "keep_states", "micro_batch", "save_every", "save_minutes"]
    assert sorted(running_of(paper(), "sft")) == running


def test_a_control_uses_its_parents_weights() -> None:
    demo = load_run([*papers_layers(), read_layer(DEMO)], schema())
    assert weights_arm(demo, "r1_blind") == "r1"
    assert weights_arm(demo, "coldstart") == "coldstart"


def test_the_demo_changes_no_choice_of_the_recipe() -> None:
    """The demo may be smaller than the paper's run, but not another method."""
    run_paper = load_run([*papers_layers()], schema())
    demo = load_run([*papers_layers(), read_layer(DEMO)], schema())
    for key in ("rollouts", "length_norm", "advantage_std", "advantage_noise", "penalise_wrong", "length_weight"):
        assert demo["methods"]["grpo"][key] == run_paper["methods"]["grpo"][key]
    for name, arm in run_paper["arms"].items():
        for key in ("method", "parent", "data", "answer"):
            assert demo["arms"][name].get(key) == arm.get(key)


def test_braces_in_a_path_are_part_of_it() -> None:
    layers = [*papers_layers(), ("mine.yaml", {"data": {"nextqa": {"root": "a{b}{"}}})]
    with pytest.raises(ConfigError, match=r"a\{b\}\{ does not exist"):
        path_at(load_run(layers, schema()), "data.nextqa.root", layers)
