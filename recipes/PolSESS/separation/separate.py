"""Separates audio files with an exported model.

    python separate.py MODEL FILE... --out DIR

Prints the paths of the separated sources. Files that cannot be separated are named on
stderr at the end; the others are done nevertheless and the exit code is 1.
"""

import argparse
import logging
import sys

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from inference import CHUNK_SECONDS, SeparationError, Separator


def rate(text):
    """Reads ``file``, ``model`` or a rate in Hz."""
    if text in ("file", "model"):
        return text
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not file, model or Hz")
    return int(text)


def seconds(text):
    """Reads the length of a chunk."""
    if not 1 <= float(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 3600 s")
    return float(text)


def parse(arguments=None):
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of an exported model")
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files")
    parser.add_argument("--out", metavar="DIR", help="default: beside each file")
    parser.add_argument(
        "--rate",
        type=rate,
        default="file",
        metavar="file|model|HZ",
        help="sample rate of the sources (default: the file's)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace sources of an earlier run"
    )
    parser.add_argument(
        "--chunk_seconds",
        type=seconds,
        default=CHUNK_SECONDS,
        metavar="S",
        help="what the model sees at once (default: %(default)s)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error("--threads: expected 1 or more")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    return options


def separate_file(separator, path, options):
    """Separates one file under a progress bar of its seconds of audio."""
    with tqdm(desc=path, unit="s", unit_scale=True) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        return separator.separate_file(
            path,
            out_folder=options.out,
            output_rate=options.rate,
            overwrite=options.overwrite,
            chunk_seconds=options.chunk_seconds,
            progress=progress,
        )


def main(arguments=None):
    """Runs the command line and returns its exit code."""
    options = parse(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        separator = Separator.from_export(options.model, options.device)
    except SeparationError as error:
        print(error, file=sys.stderr)
        return 1

    failures, written = [], {}
    with logging_redirect_tqdm():
        for path in options.files:
            try:
                for output in separator.output_paths(path, options.out):
                    if output in written:
                        raise SeparationError(
                            f"{path}: {output} is that of {written[output]} already; "
                            "separate files of one name into different folders"
                        )
                outputs = separate_file(separator, path, options)
            except SeparationError as error:
                failures.append(error)
                continue
            written.update(dict.fromkeys(outputs, path))
            print(*outputs, sep="\n")
    for error in failures:
        print(error, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
