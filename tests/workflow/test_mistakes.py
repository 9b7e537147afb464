"""Mistakes are found before anything starts, and said in one screen."""

import re

import pytest

from tests.workflow.conftest import TINY, Workplace

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("evalution: {}", r"mistake.yaml: evalution: unknown key .*did you mean evaluation\?"),
        ("arms: {r1: {parent: coldstrat}}", r"mistake.yaml: arms.r1.parent: .* is no arm; .*did you mean coldstart\?"),
        ("arms: {coldstart: {parent: r1}}", r"mistake.yaml: arms.coldstart.parent: .*coldstart -> r1 -> coldstart"),
        (
            "datasets: {temp_compass: {root: x}}",
            r"mistake.yaml: datasets.temp_compass: unknown key .*did you mean tempcompass",
        ),
        (
            "benchmarks: {mlvu: {root: x}}",
            r"mistake.yaml: benchmarks.mlvu: unknown key \(value .*\); it is datasets.mlvu .*now",
        ),
        (
            "arms: {r1: {beta: 0.0}}",
            r"mistake.yaml: arms.r1.beta: unknown key \(value 0.0\); it is arms.r1.objective.beta now",
        ),
        (
            "arms: {r2: {like: r11, label: R2}}",
            r'mistake.yaml: arms.r2.like: "r11" is no arm; .*did you mean r1\?',
        ),
        ("seed: -1", r"mistake.yaml: seed: -1 is not allowed; allowed: 0 or more"),
        ("seeds: [010]", r'mistake.yaml: seeds.0: "010" is not allowed; allowed: integer \(this is text: '),
        ("seeds: &a [*a]", r"mistake.yaml: not YAML: a value holds itself"),
    ],
)
def test_a_mistake_in_the_configuration(fresh: Workplace, change: str, words: str) -> None:
    printed = fresh.run("--dry-run", configs=fresh.overlay("mistake", change), ok=False)
    assert re.search(words, printed), printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) < 12
    assert not (fresh.root / "results").exists()


def test_a_path_that_does_not_exist(fresh: Workplace) -> None:
    (fresh.root / "mine.yaml").write_text("datasets: {nextqa: {root: /nowhere/nextqa}}\n")
    printed = fresh.run("--dry-run", configs=("mine.yaml",), ok=False)
    assert "mine.yaml: datasets.nextqa.root: /nowhere/nextqa does not exist" in printed
    assert len(printed.splitlines()) < 40


def test_an_unknown_arm_in_a_path(fresh: Workplace) -> None:
    printed = fresh.run("--dry-run", "results/tiny/specs/r9/seed0.json", ok=False)
    assert "results/tiny/specs/r9/seed0.json" in printed
    (fresh.root / "more.yaml").write_text(
        "arms: {r1_more: {like: r1, label: More}}"
    )  # an arm of `tiny`, not of `paper`
    wanted = ("--dry-run", "results/paper/specs/r1_more/seed0.json")
    printed = fresh.run(*wanted, configs=(*TINY, "more.yaml"), ok=False)
    assert "r1_more is no arm of this run; allowed: base, sft, coldstart, r1" in printed


@pytest.mark.parametrize(("entry", "shown"), [("seed=010", "010"), ("seed=1_0", "1_0"), ("seeds=[010]", "010")])
def test_a_number_that_snakemake_would_read_otherwise(fresh: Workplace, entry: str, shown: str) -> None:
    printed = fresh.run("--dry-run", "--config", entry, ok=False)
    assert re.search(rf'--config: seed[s.0]*: "{shown}" is not allowed; allowed: integer', printed), printed


def test_a_run_may_be_called_by_digits(fresh: Workplace) -> None:
    """Snakemake's own reading of the command line makes 7 of it."""
    spec = "results/007/specs/r1/seed7.json"
    fresh.run(spec, "--cores", "1", "--config", "run=007", "seed=7", "seeds=[7]")
    assert (fresh.root / spec).exists()
