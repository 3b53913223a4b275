"""Makes a corpus from the command line: ``python -m corpus PROVIDER OUT ...``."""

import argparse
import sys
from pathlib import Path

from corpus.audio import CORPUS_RATES, DEFAULT_RATE, FORMATS
from corpus.build import CorpusSettings, build_corpus, claim_corpus, hold_corpus
from corpus.providers import embedded, folder, listed, polsess
from recipekit.console import plain_errors


def parse_arguments(arguments):
    """Returns the parsed command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("out", help="folder to make; the corpus gets its name")
    common.add_argument(
        "--rows",
        type=int,
        nargs=3,
        default=(400, 40, 40),
        metavar=("TRAIN", "VAL", "TEST"),
        help="recordings per subset (default: 400 40 40)",
    )
    common.add_argument(
        "--rate",
        type=int,
        choices=CORPUS_RATES,
        default=DEFAULT_RATE,
        help="Hz (default: %(default)s)",
    )
    common.add_argument(
        "--both_rates",
        action="store_true",
        help="only rows that are within the limit at 8 and at 16 kHz: corpora of both "
        "rates then have the same; takes three times as long",
    )
    common.add_argument(
        "--seconds", type=float, default=4.0, help="of a recording (default: 4)"
    )
    common.add_argument("--seed", type=int, default=0, help="default: 0")
    common.add_argument(
        "--format",
        choices=FORMATS,
        default="wav",
        help="of the recordings (default: wav)",
    )
    common.add_argument(
        "--workers", type=parse_workers, help="processes (default: all cores)"
    )
    common.add_argument(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="make the I-th of N parts only, e.g. each on a machine of its own",
    )
    common.add_argument(
        "--max_rejected",
        type=parse_share,
        default=0.01,
        metavar="SHARE",
        help="of the sources that may be unusable (default: 0.01)",
    )

    parser = argparse.ArgumentParser(prog="python -m corpus", description=__doc__)
    providers = parser.add_subparsers(dest="provider", required=True)
    providers.add_parser(
        "embedded",
        parents=[common],
        help="synthetic speech and sounds, for trying things out, not for results",
    )
    of_polsess = providers.add_parser(
        "polsess",
        parents=[common],
        help="the seven public collections that PolSESS is made of, or some of them",
    )
    for name in polsess.COLLECTIONS:
        of_polsess.add_argument(
            f"--{name}", metavar="DIR", help="folder of the unpacked download"
        )
    of_polsess.add_argument(
        "--published",
        metavar="LIST",
        help="published list (CSV or .mat) that says what is in which subset; it leaks "
        "speakers. Default: a split that does not",
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


def parse_workers(text):
    """Returns a number of processes."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 on")
    return int(text)


def parse_share(text):
    """Returns a share from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share from 0 to 1")
    return share


def parse_shard(text):
    """Returns I/N as a tuple of two int, of which I counts from 1."""
    shard, _, count = text.partition("/")
    if not (shard.isdecimal() and count.isdecimal() and 1 <= int(shard) <= int(count)):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected I/N with I from 1 to N, e.g. 2/4"
        )
    return int(shard), int(count)


def make_sources(options):
    """Returns the sources and the rejected ones of the provider that was asked for."""
    if options.provider == "embedded":
        print(
            "Embedded corpus: synthetic speech and sounds, for trying things out. "
            "Scores on it say nothing about real recordings."
        )
        sources = embedded.make_sources(
            options.out, options.seed, workers=options.workers
        )
        return sources, []
    scan = {"max_rejected": options.max_rejected, "workers": options.workers}
    if options.provider == "list":
        return listed.make_sources(options.source, **scan)
    if options.provider == "polsess":
        given = {name: getattr(options, name) for name in polsess.COLLECTIONS}
        roots = {name: root for name, root in given.items() if root}
        return polsess.make_sources(roots, options.seconds, options.published, **scan)
    wrong = [pair for pair in options.treat if pair.count("=") != 1]
    if wrong:
        raise ValueError(f"--treat {wrong[0]}: expected CLASS=KNOWN_CLASS")
    treat = dict(pair.split("=") for pair in options.treat)
    return folder.make_sources(
        options.source, options.manifest, options.split, treat, **scan
    )


def describe_split(options):
    """Returns how the provider splits its sources, to be read."""
    if options.provider == "polsess":
        if options.published:
            return f"as published ({Path(options.published).name})"
        units = "speaker (of EMU: session), place or Freesound clip"
        return f"so that no {units} is in two subsets"
    if options.provider == "folder":
        shares = "/".join(f"{share:g}" for share in options.split)
        return f"{shares} by speaker and by original recording"
    if options.provider == "embedded":
        return "by voice"
    return CorpusSettings.split


def main(arguments):
    """Makes the corpus."""
    options = parse_arguments(arguments)
    settings = CorpusSettings(
        tuple(options.rows),
        options.rate,
        options.seconds,
        options.seed,
        options.format,
        describe_split(options),
        options.both_rates,
    )
    with hold_corpus(options.out, options.shard) as prepared:
        sources, rejected = make_sources(options)
        claim_corpus(Path(options.out), sources, settings)
        prepared()
        result = build_corpus(
            options.out,
            sources,
            settings,
            options.workers,
            rejected=rejected,
            max_rejected=options.max_rejected,
            shard=options.shard,
        )
    redrawn = ", ".join(f"{count} {why}" for why, count in result["redrawn"].items())
    print(
        f"{options.out}: {result['rows']} recordings made in {result['seconds']} s "
        f"(redrawn: {redrawn or 'none'})"
    )
    if rejected:
        print(f"{len(rejected)} sources cannot be used: see rejected.csv there")
    if not result["finished"]:
        print(
            "This is one shard. When all are made, copy their folders over one another "
            "and repeat the command without --shard: it finishes the corpus"
        )


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
