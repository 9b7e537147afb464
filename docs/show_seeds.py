"""Write the numbers of the finished demos into docs/demo.md: `python docs/show_seeds.py results/demo results/demo-seed1 ...`.

One table of means with the gain of R1, one of accuracy by type of question with the controls.
"""

import json
import re
import sys
from pathlib import Path

from vidreason.artifacts.csv_files import read_csv
from vidreason.evaluation.score_record import read_score
from vidreason.evaluation.statistics import mean_of_estimates
from vidreason.results.number_format import plus_minus

PAGE = Path(__file__).with_name("demo.md")
BEGIN, END = "<!-- seeds: begin (docs/show_seeds.py) -->", "<!-- seeds: end -->"
TYPES = ("first", "last", "after", "direction", "change", "colour", "existence", "count")


def rows(run: Path, table: str) -> list[dict[str, str]]:
    """Rows of one of a run's tables."""
    return read_csv(run / "tables" / f"{table}.csv")


def markdown(header: list[str], body: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(share: str) -> str:
    """A fraction from a CSV file in percent."""
    return f"{100 * float(share):.0f}%" if share else "-"


def means(run: Path) -> list[list[str]]:
    """Every arm of a run: mean accuracy, format, truth of its think texts, gain over its parent."""
    thinking = {
        row["arm"]: row for row in rows(run, "thinking") if (row["benchmark"], row["metric"]) == ("all", "accuracy")
    }
    gains = {row["arm"]: row for row in rows(run, "gains") if row["benchmark"] == "mean"}
    body = []
    for row in rows(run, "main"):
        if row["benchmark"] == "mean":
            scores = map(read_score, sorted((run / "score" / row["arm"] / f"seed{row['seed']}").glob("*.score.json")))
            reasons, gain = thinking.get(row["arm"], {}), gains.get(row["arm"], {})
            body.append(
                [
                    row["seed"],
                    row["label"],
                    row["style"],
                    plus_minus(mean_of_estimates(score.estimate for score in scores)),
                    percent(reasons.get("format_followed", "")),
                    percent(reasons.get("think_true", "")),
                    f"{float(gain['difference']):+.1f}" if gain else "-",
                    f"{float(gain['well_formed_difference']):+.1f}" if gain.get("well_formed_difference") else "-",
                ]
            )
    return body


def types(run: Path) -> list[list[str]]:
    """Every arm and control of a run: accuracy in percent by type of question, over all benchmarks."""
    labels = {row["arm"]: row["label"] for row in rows(run, "controls")}
    body, chance = [], dict.fromkeys(TYPES, "-")
    seed = rows(run, "controls")[0]["seed"]
    for arm, label in labels.items():
        answers = [
            json.loads(line)
            for path in sorted((run / "score" / arm / f"seed{seed}").glob("*.scored.jsonl"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        shares = []
        for kind in TYPES:
            members = [
                row for row in answers if (row["truth"] or {}).get("kind") == kind and row["question"]["options"]
            ]
            shares.append(
                f"{100 * sum(row['grades'][row['rule']]['correct'] for row in members) / len(members):.0f}"
                if members
                else "-"
            )
            if members:
                chance[kind] = f"{100 * sum(1 / len(row['question']['options']) for row in members) / len(members):.0f}"
        body.append([seed, label, *shares])
    return [*body, [seed, "chance", *chance.values()]]


def between_any_tags(run: Path) -> str:
    """Share of right letters if the last letter in front of any closing tag is read, for the base asked to think."""
    (seed,) = {row["seed"] for row in rows(run, "main")}
    answers = [
        json.loads(line)
        for path in sorted((run / "score" / "base_thinks" / f"seed{seed}").glob("*.scored.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    right = [
        (re.findall(r"\b([A-E]) ?</", row["prediction"]["completion"]["text"]) or [""])[-1] == row["question"]["gold"]
        for row in answers
    ]
    return f"{100 * sum(right) / len(right):.0f}%"


def kinds(run: Path) -> list[list[str]]:
    """R1 and its controls on questions that need the order of time and on the others."""
    return [
        [
            row["seed"],
            row["label"],
            row["questions"],
            row["n"],
            f"{float(row['value']):.1f} ({float(row['ci_low']):.1f} to {float(row['ci_high']):.1f})",
            f"{float(row['chance']):.1f}",
        ]
        for row in rows(run, "controls")
        if row["arm"].startswith("r1") and row["questions"] != "all" and row["metric"] == "accuracy"
    ]


def block(runs: list[Path]) -> str:
    """The text between the marks in docs/demo.md."""
    return "\n\n".join(
        [
            BEGIN,
            markdown(
                ["seed", "arm", "style", "mean", "format", "think true", "gain over parent", "within well-formed"],
                [line for run in runs for line in means(run)],
            ),
            markdown(
                ["seed", "arm", "questions", "n", "accuracy (95% interval)", "chance"],
                [line for run in runs for line in kinds(run)],
            ),
            markdown(["seed", "arm", *TYPES], [line for run in runs for line in types(run)]),
            "The base, asked to think, puts its letter between tags of other names; read there, it is right in "
            + ", ".join(f"{between_any_tags(run)} ({run.name})" for run in runs)
            + " of the questions.",
            END,
        ]
    )


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    new = re.sub(
        f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block([Path(run) for run in sys.argv[1:]]), text, flags=re.S
    )
    PAGE.write_text(new, encoding="utf-8")
