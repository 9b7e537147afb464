"""The command `vidreason`: ask a checkpoint about a video, describe a checkpoint, publish it, export scored answers.

Bad input ends with one sentence and exit status 2. Heavy libraries are imported by the command that needs them.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from vidreason import __version__
from vidreason.artifacts.control_characters import is_control, visible

if TYPE_CHECKING:
    from vidreason.engine.ask import Reasoner, Reply, Video

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
SEPARATOR = "|"
"""Between a question and its options on a line of `ask --interactive`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ValueError, OSError) as error:
        _complain(error)
        return BAD_INPUT
    except MemoryError as error:
        _complain(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(error: BaseException) -> None:
    print(f"vidreason: {printable(' '.join(str(error).splitlines()))}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints repeat no control character of an argument."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("vidreason", description="Small video models that reason: use what a run has trained.")
    parser.add_argument("--version", action="version", version=f"vidreason {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_ask(commands)
    _add_card(commands)
    _add_push(commands)
    _add_export(commands)
    return parser


def _add_ask(commands: Any) -> None:
    ask = commands.add_parser(
        "ask",
        help="ask a checkpoint about a video or picture",
        description="Ask a checkpoint about a video or picture. The answer is printed while it is generated.",
    )
    ask.add_argument("video", metavar="VIDEO", help="a video, a folder of numbered pictures, or a picture")
    ask.add_argument("question", metavar="QUESTION", nargs="?", help="the question alone, without options")
    ask.add_argument(
        "--option", action="append", default=[], metavar="TEXT", help="a text to choose from; up to 10 times"
    )
    which = ask.add_argument_group("the checkpoint")
    which.add_argument("--weights", metavar="FOLDER", help="a checkpoint folder")
    which.add_argument("--arm", metavar="NAME", help="an arm of a run, for instance r1, in place of --weights")
    which.add_argument("--run", default="demo", metavar="NAME", help="the run that the arm is of (default: demo)")
    which.add_argument(
        "--arm-seed", type=_whole, metavar="N", help="the training seed of the arm (default: its smallest)"
    )
    ask.add_argument(
        "--style",
        choices=("reason", "option"),
        help="a thought and an answer, or the answer alone (default: as trained)",
    )
    ask.add_argument("--seed", type=_whole, metavar="N", help="sample the answer with this seed (default: greedy)")
    ask.add_argument(
        "--max-new-tokens", type=_positive, metavar="N", help="longest answer (default: 1024, or what fits)"
    )
    ask.add_argument(
        "--frames", type=_positive, metavar="N", help="frames to take of the video (default: as the run does, or 16)"
    )
    ask.add_argument(
        "--precision", choices=("fp32", "bf16"), help="type of the weights (default: bf16 on a GPU, else fp32)"
    )
    ask.add_argument("--json", action="store_true", help="print one JSON object a question")
    ask.add_argument(
        "--interactive",
        action="store_true",
        help=f"encode the video once and answer every line of the input: question {SEPARATOR} option {SEPARATOR} option ...",
    )
    ask.set_defaults(command=_ask)


def _add_card(commands: Any) -> None:
    card = commands.add_parser("card", help="print the model card of a checkpoint", description=_card.__doc__)
    _add_folder(card)
    card.set_defaults(command=_card)


def _add_push(commands: Any) -> None:
    push = commands.add_parser("push", help="publish a checkpoint with its card on the hub", description=_push.__doc__)
    _add_folder(push)
    push.add_argument("repo", metavar="REPO", help="owner/name on the hub")
    push.add_argument("--card", metavar="FILE", help="a card of your own (default: as `vidreason card` prints it)")
    push.add_argument("--yes", action="store_true", help="upload; without it nothing leaves this machine")
    push.add_argument("--private", action="store_true", help="make the repository, if there is none, a private one")
    push.set_defaults(command=_push)


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export", help="write scored answers as logs of inspect_ai", description=_export.__doc__
    )
    export.add_argument("run", metavar="RUN", help="the folder of a run, results/demo")
    export.add_argument("--out", metavar="FOLDER", help="where to write (default: RUN/inspect)")
    for name in ("arm", "benchmark"):
        export.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="NAME",
            help=f"only this {name}; may be given several times",
        )
    export.set_defaults(command=_export)


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", metavar="FOLDER", help="a checkpoint folder")
    command.add_argument(
        "--license", default="other", metavar="ID", help="the hub's name of a license (default: other)"
    )


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; allowed: a whole number from 0 of at most 18 digits"
        )
    return int(text)


def _positive(text: str) -> int:
    if not _whole(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: a whole number from 1")
    return int(text)


def _ask(options: argparse.Namespace) -> int:
    """Answer one question, or with `--interactive` every line of the input."""
    from vidreason.engine.ask import question_of

    if options.interactive and (options.question or options.option):
        raise ValueError("--interactive reads its questions from the input; leave out QUESTION and --option")
    if not options.interactive:
        if options.question is None:
            raise ValueError("there is no QUESTION; give one behind VIDEO, or --interactive to be asked for them")
        question_of(options.question, options.option)  # before seconds are spent on weights
    reasoner = _reasoner(options)
    if not options.interactive:
        _answer(reasoner, options, options.video, options.question, options.option)
        return 0
    return _answer_lines(reasoner, options, sys.stdin)


def _card(options: argparse.Namespace) -> int:
    """Print the model card of a checkpoint: data, settings, scores with intervals, commit, from what its run has recorded."""
    from vidreason.results.release.model_card import model_card

    print(model_card(options.folder, options.license), end="")
    return 0


def _push(options: argparse.Namespace) -> int:
    """Show what would be uploaded; with --yes, upload it as one commit."""
    from vidreason.results.release.model_card import NO_LICENSE, model_card, read_card
    from vidreason.sources.upload import plan_upload, push

    if options.card and options.license != NO_LICENSE:
        raise ValueError(
            "--license is written into the card that is made; a card of your own (--card) states its license itself"
        )
    own = read_card(options.card) if options.card else None
    card = model_card(options.folder, options.license, options.repo) if own is None else own
    upload = plan_upload(options.folder, options.repo, card)
    for name, size in upload.sizes.items():
        print(f"{size:>15,}  {printable(name)}")
    print(f"{sum(upload.sizes.values()):>15,}  bytes in {len(upload.sizes)} files, to {upload.repo}")
    if upload.left_out:
        print(f"left out: {printable(', '.join(upload.left_out))}")
    if not options.yes:
        print("Nothing was uploaded. Files of these names that the repository has are replaced; --yes uploads.")
        return 0
    print(push(upload, options.private))
    return 0


def _export(options: argparse.Namespace) -> int:
    """Write the scored answers of a run as logs of inspect_ai, one for every arm, seed and benchmark."""
    from vidreason.results.release.judges.inspect_log import export_logs
    from vidreason.training.registered import registered

    registered()
    out = options.out or f"{options.run}/inspect"
    written = export_logs(options.run, out, options.arm, options.benchmark)
    print(f"{len(written)} logs in {out}; to look at them: inspect view --log-dir {out}")
    return 0


def _reasoner(options: argparse.Namespace) -> "Reasoner":
    """The checkpoint that the command names, with the frames and the style of its run."""
    from vidreason.engine.ask import FRAMES, load
    from vidreason.results.release.arm_weights import arm_folder, find_arm

    if (options.weights is None) == (options.arm is None):
        raise ValueError("which checkpoint is to answer? Give either --weights FOLDER or --arm NAME with --run NAME")
    known = find_arm(options.run, options.arm, options.arm_seed) if options.arm else arm_folder(options.weights)
    folder = known.folder if options.arm and known else options.weights
    frames, style = (known.frames(), known.style) if known else (None, None)
    return load(folder, options.precision, options.frames or frames or FRAMES, options.style or style or "reason")


def _answer_lines(reasoner: "Reasoner", options: argparse.Namespace, lines: TextIO) -> int:
    """Answer every line about one video; a line that cannot be answered is complained about, and the next one is read."""
    video, status = reasoner.encode(options.video), 0
    while True:
        if lines.isatty():
            print(f"question {SEPARATOR} option {SEPARATOR} option ... (an empty line ends)", file=sys.stderr)
        line = lines.readline()
        if not line.strip():
            return status
        text, *choices = line.split(SEPARATOR)
        try:
            _answer(reasoner, options, video, text, choices)
        except ValueError as error:
            _complain(error)
            status = BAD_INPUT


def _answer(
    reasoner: "Reasoner", options: argparse.Namespace, video: "str | Video", text: str, choices: Sequence[str]
) -> None:
    """Answer one question and print the answer."""
    from vidreason.engine.ask import TEMPERATURE, TOP_K
    from vidreason.engine.generation import Decoding

    decoding = None
    if options.max_new_tokens:
        sampled = options.seed is not None
        decoding = Decoding(options.max_new_tokens, TEMPERATURE if sampled else 0.0, TOP_K)
    start = time.monotonic()
    first: list[float] = []

    def show(piece: str) -> None:
        if not first:
            first.append(time.monotonic() - start)
        if not options.json:
            print(printable(piece), end="", flush=True)

    reply = reasoner.ask(video, text, choices, None, decoding, options.seed, show)
    seconds = time.monotonic() - start
    if options.json:
        print(one_json(described(reply, options.video, options.seed)), flush=True)
    else:
        print("".join(f"\n{printable(line)}" for line in _summary(reply)), flush=True)
    begun = f"first text after {first[0]:.2f} s, " if first else ""
    print(f"{begun}{reply.completion.tokens} tokens in {seconds:.2f} s", file=sys.stderr, flush=True)


def _summary(reply: "Reply") -> list[str]:
    """The lines below an answer."""
    lines = []
    if not reply.completion.finished:
        lines.append(f"(cut off after {reply.completion.tokens} tokens)")
    if reply.option is not None:
        lines.append(f"Answer: {reply.answer}. {reply.option}")
    elif reply.answer is None:
        lines.append("No answer could be read.")
    return lines


def described(reply: "Reply", video: str, seed: int | None) -> dict[str, Any]:
    """What `ask --json` prints."""
    return {
        "video": video,
        "question": reply.question.text,
        "options": list(reply.question.options),
        "style": reply.style,
        "seed": seed,
        "text": reply.text,
        "thought": reply.thought,
        "answer": reply.answer,
        "option": reply.option,
        "tokens": reply.completion.tokens,
        "finished": reply.completion.finished,
    }


def printable(text: str) -> str:
    r"""A text for a terminal: control characters, which could move the cursor or worse, are replaced.

    Example:
        >>> printable("so B.\x1b[2J\r\n") == "so B.\ufffd[2J\ufffd\n"
        True
    """
    return visible(text, "\n\t")


def one_json(values: object) -> str:
    r"""One line of JSON; control characters are escaped, those included that JSON allows.

    Example:
        >>> one_json({"text": "ö\x9b\u202e"}) == '{"text": "ö\\u009b\\u202e"}'
        True
    """
    text = json.dumps(values, ensure_ascii=False)
    return "".join(json.dumps(sign)[1:-1] if is_control(sign) else sign for sign in text)


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
