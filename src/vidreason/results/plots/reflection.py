"""How often the thoughts of a training reflect, by step."""

from matplotlib.figure import Figure

from vidreason.artifacts.csv_files import read_csv
from vidreason.results.counts.measured import Measured
from vidreason.results.figures import empty_figure
from vidreason.results.plots.curves import Panel, Training, draw_trainings, training_label
from vidreason.results.result_inputs import ResultInputs

COLUMNS = ("arm", "seed", "step", "answers", "with_marker", "per_1k_tokens", "option_switches")
PANELS: tuple[Panel, ...] = (
    ("with_marker", "thoughts with a marker (%)", 100.0),
    ("per_1k_tokens", "markers in 1,000 tokens", 1.0),
    ("option_switches", "option switches (% of thoughts)", 100.0),
)


def draw_reflection(inputs: ResultInputs) -> Figure:
    """Share of thoughts with a marker, markers in 1,000 tokens, and share of thoughts with an option switch, over the kept steps."""
    table = inputs.table("reflection_steps")
    by_arm: dict[str, dict[int, list[Measured]]] = {}
    for row in read_csv(table, COLUMNS) if table else ():
        answers = int(row["answers"])
        if answers:
            values = {name: int(row[name]) / answers for name in ("with_marker", "option_switches")}
            values["per_1k_tokens"] = float(row["per_1k_tokens"] or 0)
            measured = Measured("train", int(row["step"]), values)
            by_arm.setdefault(row["arm"], {}).setdefault(int(row["seed"]), []).append(measured)
    if not by_arm:
        words = "no rollouts with a thought were kept in this run"
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), words)
    trainings = [
        Training(training_label(inputs, arm, list(seeds)), list(seeds.values())) for arm, seeds in by_arm.items()
    ]
    return draw_trainings(trainings, PANELS)
