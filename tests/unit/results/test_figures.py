"""Figures: drawn from files, the same bytes twice, honest where there is nothing to draw."""

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.support.scored_run import ARMS, BENCHMARKS, write_run, write_selection
from vidreason.results.figures import draw_selection, draw_temporal, make_figures
from vidreason.results.plots.accuracy import draw_accuracy
from vidreason.results.plots.curves import draw_grpo, draw_sft
from vidreason.results.registry import FIGURES
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

EMPTY = ResultInputs(read_arms(ARMS), BENCHMARKS)
NAMES = [figure.name for figure in FIGURES]


def write_metrics(root: Path, method: str, arm: str, seed: int = 0) -> Path:
    """A short training log: 40 steps, validation every 10, one step without a KL."""
    rows: list[dict[str, Any]] = []
    for step in range(1, 41):
        row = {"kind": "train", "step": step, "loss": 2.0 / step, "grad_norm": 1.0, "lr": 1e-4}
        if method == "grpo":
            row |= {"reward": -1 + step / 20, "accuracy": 0.3 + step / 200, "format": 0.9, "tokens": 20 + step / 4}
            row |= {"kl": None if step == 1 else 0.001 * step, "zero_variance": 0.25}
        rows.append(row)
        if method == "grpo" and step % 10 == 0:
            rows.append(
                {"kind": "validation", "step": step, "accuracy": 0.3 + step / 300, "format": 0.95, "tokens": 24.0}
            )
    path = root / f"train_{method}" / arm / f"seed{seed}" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> ResultInputs:
    """A run with everything that the figures need."""
    run = write_run(tmp_path)
    controls, lengths = tmp_path / "controls.csv", tmp_path / "lengths.csv"
    make_tables(run, {"controls": controls, "lengths": lengths})
    steps = tmp_path / "reflection_steps.csv"
    steps.write_text(
        "arm,seed,step,answers,with_marker,per_1k_tokens,option_switches\nr1,0,0,4,1,9.5,0\nr1,0,10,4,2,9.5,0\n"
    )
    published = tmp_path / "published.tsv"
    published.write_text("arm\tbenchmark\tvalue\nr1\tmlvu\t30.0\n")
    return replace(
        run,
        scored=(),
        tables=[controls, lengths, steps],
        published=published,
        histograms=[write_selection(tmp_path)["histogram"]],
        grpo=[write_metrics(tmp_path, "grpo", "r1")],
        sft=[write_metrics(tmp_path, "sft", "coldstart"), write_metrics(tmp_path, "sft", "sft")],
    )


def labels(figure: Figure) -> set[str]:
    """All axis labels and legend entries of a figure."""
    found = set()
    for axes in figure.axes:
        found |= {axes.get_xlabel(), axes.get_ylabel(), *axes.get_legend_handles_labels()[1]}
    return found


LABELS = {"base": r"$\frac$ & $5", "coldstart": "_under_", "r1": r"a_1 \$ {x} <b>", "r1_shuffled": "100% $x$"}


def test_labels_are_drawn_as_they_are_written(inputs: ResultInputs, tmp_path: Path) -> None:
    arms = read_arms({name: arm | {"label": LABELS[name]} for name, arm in ARMS.items()})
    out = {name: tmp_path / f"{name}.svg" for name in ("accuracy", "temporal")}
    make_figures(replace(inputs, arms=arms), out)
    accuracy = html.unescape(out["accuracy"].read_text())
    for name in ("base", "coldstart", "r1"):
        assert f"{LABELS[name]}</text>" in accuracy
    assert f"{LABELS['r1']}, seed 0</text>" in html.unescape(out["temporal"].read_text())


def test_all_figures_twice_the_same_bytes(inputs: ResultInputs, tmp_path: Path) -> None:
    bytes_of = []
    for turn in ("one", "two"):
        out = {name: tmp_path / turn / f"{name}.{'svg' if name == 'sft' else 'png'}" for name in NAMES}
        make_figures(inputs, out)
        bytes_of.append([path.read_bytes() for path in out.values()])
    assert bytes_of[0] == bytes_of[1]
    assert b"Matplotlib v" not in bytes_of[0][0]
    for name in set(NAMES) - {"sft", "sampled"}:  # of nothing that was sampled one line is drawn
        with Image.open(tmp_path / "one" / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 5, "not blank"


def test_accuracy_bars_have_the_right_height(inputs: ResultInputs) -> None:
    figure = draw_accuracy(inputs)
    axes = figure.axes[0]
    heights = [round(patch.get_height(), 2) for patch in axes.patches]
    assert heights[:3] == [37.5, round(100 * (2 / 6 + 0) / 2, 2), round((37.5 + 100 / 6) / 2, 2)]
    assert len(heights) == 3 * 3, "three arms without the control, two benchmarks and their mean"
    assert {"accuracy (%)", "chance", "Base"} <= labels(figure)


def test_selection_shows_kept_and_dropped(inputs: ResultInputs) -> None:
    figure = draw_selection(inputs)
    assert {"right answers out of 4", "questions", "kept", "dropped", "kept range"} <= labels(figure)
    assert "13 of 19 kept" in figure.axes[0].get_title()


def test_training_curves_have_units(inputs: ResultInputs) -> None:
    assert {
        "mean reward",
        "grade of the answers (%)",
        "KL to the reference (nats)",
        "answer length (tokens)",
        "step",
        "validation",
    } <= labels(draw_grpo(inputs))
    assert {"cross-entropy (nats per token)", "step"} <= labels(draw_sft(inputs))


def test_a_reward_term_gets_a_panel_without_being_known_here(inputs: ResultInputs) -> None:
    path = Path(inputs.grpo[0])
    rows = [json.loads(line) | {"brevity": 0.5, "brevity_zero_variance": 1.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure = draw_grpo(inputs)
    assert len(figure.axes) == 8
    assert {"reward term brevity", "groups of equal rewards (%)"} <= labels(figure)


def test_what_only_some_trainings_log_has_a_panel_there(inputs: ResultInputs) -> None:
    assert "groups with temporal bonus (%)" not in labels(draw_grpo(inputs))
    path = Path(inputs.grpo[0])
    further = {"temporal_fired": 0.5, "resampled": 0.25, "entropy": 1.5, "clip_fraction": 0.1, "rollouts": 64}
    rows = [json.loads(line) | further for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure = draw_grpo(inputs)
    shown = {"groups with temporal bonus (%)", "groups replaced (%)", "entropy (nats per token)", "clipped tokens (%)"}
    assert shown <= labels(figure)
    assert len(figure.axes) == 11
    bonus = next(axes for axes in figure.axes if axes.get_ylabel() == "groups with temporal bonus (%)")
    assert set(bonus.get_lines()[0].get_ydata()) == {50.0}


def arms_of(count: int) -> dict[str, dict[str, str]]:
    """Arms of GRPO, in an order that is not that of the alphabet."""
    return {f"g{-n % 10}_{n}": {"label": f"Arm {n}", "style": "reason", "method": "grpo"} for n in range(count)}


def test_many_arms_are_drawn_in_columns_beside_the_first(tmp_path: Path) -> None:
    arms = arms_of(8)
    paths = [write_metrics(tmp_path, "grpo", arm, seed) for arm in arms for seed in (0, 1)]
    figure = draw_grpo(replace(EMPTY, arms=read_arms(arms), grpo=paths))
    legends = [[text.get_text() for text in axes.get_legend().texts] for axes in figure.axes if axes.get_legend()]
    assert legends == [
        ["Arm 0, 2 seeds", *(f"Arm {n}, 2 seeds" for n in range(1, 5))],
        ["Arm 0, 2 seeds", *(f"Arm {n}, 2 seeds" for n in range(5, 8))],
    ]
    for axes in figure.axes:
        colors = [line.get_color() for line in axes.get_lines() if line.get_linestyle() == "-"]
        assert colors[0] == "#000000"
        assert len(set(colors)) == len(colors) <= 6
    assert len(draw_grpo(replace(EMPTY, arms=read_arms(arms), grpo=paths[:12])).axes) == 7, "six fit into one panel"


def test_seeds_are_a_mean_and_a_band(tmp_path: Path) -> None:
    paths = [write_metrics(tmp_path, "grpo", "r1", seed) for seed in (0, 1, 2)]
    rows = [json.loads(line) for line in paths[2].read_text().splitlines()]
    higher = [row | {"grad_norm": 4.0} if row["kind"] == "train" else row for row in rows if row["step"] <= 30]
    paths[2].write_text("".join(json.dumps(row) + "\n" for row in higher))
    figure = draw_grpo(replace(EMPTY, grpo=paths))
    axes = next(axes for axes in figure.axes if axes.get_ylabel() == "gradient norm")
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == list(range(1, 31)), "only steps that all seeds have"
    assert set(line.get_ydata()) == {2.0}
    (band,) = axes.collections
    assert {round(y, 6) for y in band.get_paths()[0].vertices[:, 1]} == {1.0, 4.0}


def test_what_is_always_zero_has_an_axis_of_its_own(inputs: ResultInputs) -> None:
    path = Path(inputs.grpo[0])
    rows = [json.loads(line) | {"clip_fraction": 0.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    axes = next(axes for axes in draw_grpo(inputs).axes if axes.get_ylabel() == "clipped tokens (%)")
    assert axes.get_ylim() == (-0.05, 1.0)


def test_curves_are_named_by_the_labels_of_the_arms(inputs: ResultInputs) -> None:
    assert "R1 <ours> & co, seed 0" in labels(draw_grpo(inputs))
    assert draw_sft(inputs).axes[0].get_title() == "Cold start, seed 0"


def test_temporal_views(inputs: ResultInputs) -> None:
    figure = draw_temporal(inputs)
    assert {"ordered frames", "shuffled frames", "chance", "accuracy (%)"} <= labels(figure)
    assert [round(patch.get_height(), 2) for patch in figure.axes[0].patches] == [62.5, 87.5, 0.0, 87.5]


def test_a_control_that_changes_no_frames_has_no_panel(inputs: ResultInputs, tmp_path: Path) -> None:
    """One that is asked in another way, for instance, is no view of its parent's."""
    header, *rows = Path(inputs.tables[0]).read_text(encoding="utf-8").splitlines()
    asked = [row.replace("base,Base,", "asked,Asked,") for row in rows if row.startswith("base,")]
    assert asked
    controls = tmp_path / "controls.csv"
    controls.write_text("\n".join([header, *rows, *asked]) + "\n", encoding="utf-8")
    arm = {"label": "Asked", "style": "reason", "method": "control", "parent": "base", "view": "ordered"}
    figure = draw_temporal(replace(inputs, tables=[controls], arms=read_arms({**ARMS, "asked": arm})))
    assert len(figure.axes) == 1
    assert [round(patch.get_height(), 2) for patch in figure.axes[0].patches] == [62.5, 87.5, 0.0, 87.5]


def test_two_seeds_give_two_panels_and_longer_legends(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=(0, 3))
    controls = tmp_path / "controls.csv"
    make_tables(run, {"controls": controls})
    assert len(draw_temporal(replace(run, tables=[controls])).axes) == 2
    assert "Base, seed 3" in labels(draw_accuracy(run))


def test_an_empty_figure_says_why(tmp_path: Path) -> None:
    out = {name: tmp_path / f"{name}.png" for name in ("selection", "grpo", "sft", "temporal")}
    make_figures(EMPTY, out)
    assert all(path.stat().st_size > 1000 for path in out.values())
    assert "no GRPO arm" in draw_grpo(EMPTY).texts[0].get_text()


def test_unknown_name_and_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown names \['acuracy'\]"):
        make_figures(EMPTY, {"acuracy": tmp_path / "x.png"})
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        make_figures(EMPTY, {"sft": tmp_path / "x.jpg"})
    with pytest.raises(ValueError, match=r"<arm>/seed<number>/metrics\.jsonl"):
        make_figures(replace(EMPTY, sft=[tmp_path / "metrics.jsonl"]), {"sft": tmp_path / "x.png"})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("loss", "low", "loss is 'low'; needed is a number or null"),
        ("loss", True, "loss is True"),
        ("loss", float("nan"), "loss is nan"),
        ("step", 1.5, "step is 1.5; needed is a whole number"),
        ("step", None, "step is None"),
        ("kind", 1, "kind is 1; needed is a text"),
    ],
)
def test_a_curve_is_made_of_numbers(tmp_path: Path, key: str, value: object, words: str) -> None:
    path = write_metrics(tmp_path, "sft", "coldstart")
    first, second, *rest = map(json.loads, path.read_text().splitlines())
    path.write_text("".join(json.dumps(row) + "\n" for row in (first, second | {key: value}, *rest)))
    with pytest.raises(ValueError, match=rf"metrics\.jsonl: row 2: {words}"):
        draw_sft(replace(EMPTY, sft=[path]))
