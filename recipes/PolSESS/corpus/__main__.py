"""Makes a corpus from the command line: ``python -m corpus PROVIDER OUT ...``."""

import argparse
import sys

from corpus.build import CorpusSettings, build_corpus
from corpus.locks import hold
from corpus.providers import embedded, folder
from corpus.sources import read_sources


def parse_arguments(arguments=None):
    """Returns the parsed command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("out", help="corpus folder to make; its name is the corpus'")
    common.add_argument(
        "--rows",
        type=int,
        nargs=3,
        default=(400, 40, 40),
        metavar=("TRAIN", "VAL", "TEST"),
        help="recordings per subset (default: 400 40 40)",
    )
    common.add_argument("--rate", type=int, default=8000, help="Hz: 8000 or 16000")
    common.add_argument("--seconds", type=float, default=4.0, help="of a recording")
    common.add_argument("--seed", type=int, default=0)
    common.add_argument("--workers", type=int, help="processes (default: all cores)")

    parser = argparse.ArgumentParser(prog="python -m corpus", description=__doc__)
    providers = parser.add_subparsers(dest="provider", required=True)
    providers.add_parser(
        "embedded",
        parents=[common],
        help="synthetic speech and sounds, for trying things out, not for results",
    )
    of_folder = providers.add_parser(
        "folder", parents=[common], help="your recordings, described by a manifest"
    )
    of_folder.add_argument("--source", required=True, help="folder of the recordings")
    of_folder.add_argument("--manifest", default="manifest.csv", help="CSV in it")
    of_folder.add_argument(
        "--split",
        type=float,
        nargs=3,
        default=(80, 10, 10),
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the speakers and recordings (default: 80 10 10)",
    )
    of_folder.add_argument(
        "--treat",
        action="append",
        default=[],
        metavar="CLASS=KNOWN",
        help="use a known scene or event class for a class that the tables lack",
    )
    of_list = providers.add_parser(
        "list", parents=[common], help="a source list (CSV) that you already have"
    )
    of_list.add_argument("--source", required=True, help="the CSV")
    return parser.parse_args(arguments)


def make_sources(options):
    """Returns the source list of the provider that was asked for."""
    if options.provider == "embedded":
        print(
            "Embedded corpus: synthetic speech and sounds, for trying things out. "
            "Scores on it say nothing about real recordings."
        )
        return embedded.make_sources(options.out, options.seed, workers=options.workers)
    if options.provider == "list":
        return read_sources(options.source)
    wrong = [pair for pair in options.treat if pair.count("=") != 1]
    if wrong:
        raise ValueError(f"--treat {wrong[0]}: expected CLASS=KNOWN_CLASS")
    treat = dict(pair.split("=") for pair in options.treat)
    return folder.make_sources(options.source, options.manifest, options.split, treat)


def main(arguments=None):
    """Makes the corpus; returns the exit status."""
    options = parse_arguments(arguments)
    try:
        settings = CorpusSettings(
            tuple(options.rows), options.rate, options.seconds, options.seed
        )
        with hold(options.out):
            made = build_corpus(
                options.out, make_sources(options), settings, options.workers
            )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.out}: {made['rows']} recordings made in {made['seconds']} s "
        f"({made['redrawn']} draws were silent or clipped and drawn again)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
