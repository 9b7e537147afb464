"""What an answer costs: the headline metric beside the tokens of the answers, both with their intervals."""

import math

from vidreason.evaluation.statistics import Estimate, clustered_mean, mean_of_estimates
from vidreason.results.number_format import VALUE, Row, interval_cells, mean_of, share
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import Run, headline_name

BOUNDS = (0.0, math.inf)
"""Of a number of tokens."""
MEAN = "mean"


def lengths_table(inputs: ResultInputs) -> list[Row]:
    """Every arm but the controls on each benchmark, and the unweighted mean over the benchmarks.

    Tokens are those of the answered questions; a question without frames has no answer. The value is that of all questions, as in
    the main table.
    """
    runs, rows = inputs.runs, list[Row]()
    for arm, seed in runs.pairs(controls=False):
        members = runs.of(arm.name, seed)
        tokens = [tokens_of(run) for run in members]
        cut = [_cut_off(run) for run in members]
        parts: list[tuple[str, int, Estimate, Estimate | None, float | None]]
        parts = [
            (run.benchmark, run.score.n, run.estimate, own, missing)
            for run, own, missing in zip(members, tokens, cut, strict=True)
        ]
        known = [one for one in tokens if one is not None]
        whole = mean_of_estimates(known, BOUNDS) if len(known) == len(tokens) else None
        total = sum(run.score.n for run in members)
        parts.append((MEAN, total, mean_of_estimates(run.estimate for run in members), whole, _mean(cut)))
        for benchmark, n, value, length, unfinished in parts:
            metric = headline_name(runs.benchmarks if benchmark == MEAN else [benchmark])
            head = {"arm": arm.name, "label": arm.label, "style": arm.style, "benchmark": benchmark, "metric": metric}
            tail = {"n": n, "unfinished_share": share(unfinished), "seed": seed}
            rows.append(head | tail | interval_cells(value, VALUE) | _token_cells(length))
    return rows


def tokens_of(run: Run) -> Estimate | None:
    """Mean tokens of the answers, clustered by video; None where no question was answered."""
    answered = [row for row in run.rows if row.has_frames]
    if not answered:
        return None
    tokens = [float(row.prediction.completion.tokens) for row in answered]
    return clustered_mean(tokens, [row.question.clip.path for row in answered], bounds=BOUNDS)


def _cut_off(run: Run) -> float | None:
    return mean_of([float(row.unfinished) for row in run.rows if row.has_frames])


def _mean(shares: list[float | None]) -> float | None:
    known = [one for one in shares if one is not None]
    return mean_of(known) if len(known) == len(shares) else None


def _token_cells(tokens: Estimate | None) -> Row:
    numbers: tuple[float | None, ...] = (None, None, None)
    if tokens is not None:
        # Where no length varies, the estimate has Wilson's interval, which is about shares.
        same = tokens.trials is not None
        numbers = (tokens.mean, tokens.mean if same else tokens.low, tokens.mean if same else tokens.high)
    names = ("tokens", "tokens_low", "tokens_high")
    return {name: "" if number is None else f"{number:.2f}" for name, number in zip(names, numbers, strict=True)}
