"""Tables, figures, page and gallery of a finished run from its answers, and bundles of what that needs: `make tables`, `make bundle`.

    python workflow/rebuild.py tables --run demo
    python workflow/rebuild.py tables --bundle demo.zip
    python workflow/rebuild.py bundle --run demo --bundle demo.zip

Needs no weights, videos, GPU or network, and starts no snakemake.
"""

import argparse
import sys
from pathlib import Path

from vidreason.artifacts.digests import sha256_of
from vidreason.config.load_runs import load_runs
from vidreason.config.run import Run
from vidreason.results.release import bundle as bundles
from vidreason.results.release.rebuild import rebuild
from vidreason.sources.lock import SourceError
from vidreason.training.registered import registered

PAPER = ("config/sources.yaml", "config/config.yaml")
SHIPPED = (PAPER, (*PAPER, "config/demo.yaml"))


def configured(name: str, files: list[str], values: list[str]) -> Run:
    """The run of a name: of the configuration that is given, of the bundle that it was unpacked from, or a shipped one."""
    brought = Path("results") / name / bundles.CONFIGURATION
    if not files and not values and brought.is_file():
        return bundles.read_configuration(brought)
    runs = load_runs(SHIPPED, values, files, registered())
    if name not in runs:
        raise ValueError(
            f"RUN={name} is no run of this configuration; allowed: {', '.join(runs)}. Another run needs the configuration that it "
            f'was made with, such as CONFIG="config/demo.yaml mine.yaml"'
        )
    return runs[name]


def make_again(run: Run) -> None:
    """Make all results of a run again, and say which."""
    made = rebuild(run)
    folders = [Path(path).relative_to(f"results/{run.run}").parts[0] for path in made]
    counts = ", ".join(f"{name} {folders.count(name)}" for name in dict.fromkeys(folders))
    print(f"results/{run.run}: made again from its answers; files: {counts}")


def from_bundle(bundle: str) -> bool:
    """Unpack a bundle, make its results, and say whether they are the recorded ones."""
    run = bundles.unpack(bundle)
    make_again(run)
    different = bundles.differing_results(run)
    if different:
        print(
            f"{bundle}: {len(different)} scores and tables differ from those that it records: {', '.join(different[:5])}; they were "
            f"made with the code of commit {bundles.code_of(run)}",
            file=sys.stderr,
        )
    else:
        print(f"{bundle}: every score and table has the bytes that the bundle records")
    if others := bundles.differing_results(run, bundles.PAGE_DIGESTS):
        print(
            f"{bundle}: {len(others)} pictures and pages differ from those that it records, for example {', '.join(others[:3])}; their "
            "numbers are those of the tables, but another version of matplotlib draws another picture",
            file=sys.stderr,
        )
    else:
        print(f"{bundle}: so have figures, page and gallery")
    return not different


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("tables", "bundle"))
    parser.add_argument("--run", default="demo", help="name of the run")
    parser.add_argument("--bundle", default="", help="the zip; `tables` reads it, `bundle` writes it")
    parser.add_argument("--configfile", nargs="+", default=[], help="the files that the run was made with")
    parser.add_argument("--config", nargs="+", default=[], help="values that the run was made with, key=value")
    given = parser.parse_args()
    try:
        if given.command == "tables" and given.bundle:
            sys.exit(not from_bundle(given.bundle))
        run = configured(given.run, given.configfile, given.config)
        make_again(run)
        if given.command == "bundle":
            zipped = given.bundle or f"results/{run.run}/{run.run}.zip"
            count = bundles.pack(run, zipped)
            size = Path(zipped).stat().st_size
            print(f"{zipped}: {count} files, {size:,} bytes, sha256 {sha256_of(zipped)}")
    except (ValueError, SourceError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
