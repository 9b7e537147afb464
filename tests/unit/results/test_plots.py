"""Figures with modules of their own: dots beside published numbers, and accuracy against tokens."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.support.scored_run import ARMS, BENCHMARKS, write_run
from tests.unit.results.test_figures import labels
from vidreason.results.plots.accuracy import MOST_BARS, draw_accuracy, draw_published
from vidreason.results.plots.lengths import draw_lengths
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

PUBLISHED = (
    "arm\tbenchmark\tvalue\tprotocol\tsource\n"
    "base\tvideo_mme\t40.0\toption\ta paper\n"
    "base\tmlvu\t50.0\toption\ta paper\n"
    "base\tmmvu\t60.0\toption\ta paper\n"
    "r1\tmlvu\t30.0\treason\ta paper\n"
    "r1\tvideo_mme\t99.0\toption\tanother way to answer\n"
    "Other 7B\tmlvu\t33.0\toption\ta paper\n"
)


@pytest.fixture
def run(tmp_path: Path) -> ResultInputs:
    """A run of two seeds with published numbers."""
    published = tmp_path / "published.tsv"
    published.write_text(PUBLISHED, encoding="utf-8")
    return replace(write_run(tmp_path, seeds=(0, 3)), published=published)


def diamonds(figure: Figure) -> list[list[tuple[float, float]]]:
    """(value, row) of the published points of every panel."""
    return [
        [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if line.get_marker() == "D"]
        for axes in figure.axes
    ]


def test_published_numbers_stand_in_the_rows_of_their_arms(run: ResultInputs) -> None:
    figure = draw_published(run)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["Base", "Cold start", "R1 <ours> & co", "Other 7B"]
    assert [axes.get_title() for axes in figure.axes] == ["Video-MME", "MLVU", "Mean"]
    # A number for another way to answer, or of a benchmark that the run has not, is left out; a mean needs all benchmarks.
    assert diamonds(figure) == [[(40.0, 0.0)], [(50.0, 0.0), (30.0, 2.0), (33.0, 3.0)], [(45.0, 0.0)]]


def test_own_numbers_are_dots_with_intervals(run: ResultInputs) -> None:
    axes = draw_published(run).axes[0]
    dots = sorted((line.get_ydata()[0], line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o")
    assert dots == [(-0.25, 37.5), (0.25, 37.5), (0.75, 12.5), (1.25, 12.5), (1.75, 75.0), (2.25, 75.0)]
    bars = [bar.get_segments()[0] for bar in axes.collections]
    assert len(bars) == 6
    assert all(0 <= start[0] < end[0] <= 100 for start, end in bars)
    assert {"published", "this run, 95% interval, a dot a seed", "chance"} <= labels(draw_published(run))


def test_a_published_number_that_is_none_is_refused(run: ResultInputs, tmp_path: Path) -> None:
    path = tmp_path / "odd.tsv"
    path.write_text(PUBLISHED.replace("30.0", "about 30"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.tsv: r1, mlvu: value is 'about 30'; needed is a number of percent"):
        draw_published(replace(run, published=path))


def test_without_published_numbers_the_figure_says_so(run: ResultInputs) -> None:
    for none in (None, []):
        texts = draw_published(replace(run, published=none)).texts
        assert [text.get_text() for text in texts] == ["no published numbers belong to this run"]


def test_many_arms_are_dots_and_not_bars(tmp_path: Path) -> None:
    few = write_run(tmp_path / "few", seeds=(0,))
    many = write_run(tmp_path / "many", seeds=tuple(range(MOST_BARS // 9 + 1)))
    assert len(draw_accuracy(few).axes) == 1
    assert len(draw_accuracy(many).axes) == 3


def test_accuracy_against_tokens(run: ResultInputs, tmp_path: Path) -> None:
    table = tmp_path / "lengths.csv"
    make_tables(run, {"lengths": table})
    figure = draw_lengths(replace(run, tables=[table]))
    assert [axes.get_title() for axes in figure.axes] == ["Mean", "Video-MME", "MLVU"]
    points = [[(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines] for axes in figure.axes]
    base, coldstart, r1 = points[1]
    assert (base, coldstart) == (([1.0, 1.0], [37.5, 37.5]), ([20.0, 20.0], [12.5, 12.5]))
    assert r1 == ([20.0, 20.0], [75.0, 75.0])
    assert {"Base", "R1 <ours> & co", "mean tokens of an answer", "accuracy (%)"} <= labels(figure)
    ticks = [figure.axes[2].xaxis.get_major_formatter()(tick, 0) for tick in (1, 20)]
    assert (figure.axes[2].get_xscale(), ticks) == ("log", ["1", "20"])


def test_without_answers_there_is_nothing_to_draw() -> None:
    assert "no question" in draw_lengths(ResultInputs(read_arms(ARMS), BENCHMARKS)).texts[0].get_text()
