"""Separates audio files and folders of them with an exported model.

    python separate.py MODEL FILE|FOLDER... --out DIR

Prints the paths of the separated sources. Files that cannot be separated are named on
stderr at the end; the others are done nevertheless and the exit code is 1. With --out,
DIR/summary.json tells what became of each file. Several channels are averaged, since
a model hears one: if each holds a speaker, there is nothing to separate; if they are
several microphones, give the best one (sox in.wav out.wav remix 1).
"""

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path

from exported.streaming import CHUNK_SECONDS, SeparationError, open_audio
from recipekit.console import message, plain_errors, progress_bar
from recipekit.files.atomic import replacing

SUMMARY = "summary.json"
# Files with these endings are looked for in folders; what cannot be read is reported.
AUDIO = (
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64"
)
FOREIGN = ".m4a .aac .mp4 .m4b .wma .webm .amr .3gp"
ENDINGS = frozenset((AUDIO + " " + FOREIGN).split())


def rate(text):
    """Reads ``file``, ``model`` or a rate in Hz."""
    if text in ("file", "model"):
        return text
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 768_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not file, model or Hz")
    return int(text)


def seconds(text):
    """Reads the length of a chunk."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and 3600 s")
    return value


def threads(text):
    """Reads a number of threads."""
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and 1024")
    return int(text)


def name(text):
    """Reads the name of a file or folder."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a file or folder name")
    return Path(text)


def parse(arguments):
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        epilog=__doc__.split("\n\n")[-1],
    )
    parser.add_argument("model", type=name, help="folder of an exported model")
    parser.add_argument(
        "files",
        nargs="+",
        type=name,
        metavar="FILE|FOLDER",
        help="audio files, and folders to search for them (needs --out)",
    )
    parser.add_argument(
        "--out",
        type=name,
        metavar="DIR",
        help="where the sources go, those of a folder into the same subfolders, "
        "and summary.json (default: beside each file, without summary)",
    )
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
    parser.add_argument("--threads", type=threads, metavar="N", help="CPU threads")
    return parser.parse_intermixed_args(arguments)


def find_files(paths, out):
    """Finds the files to separate.

    Arguments
    ---------
    paths : list of Path
        Files and folders.
    out : Path or None

    Yields
    ------
    path : Path
    folder : Path or None
        Where its sources go; None: beside it.
    error : str or None
        Why there is nothing to separate.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path, out, None
        elif out is None:
            yield path, out, f"{path}: is a folder; say with --out where its files go"
        elif out.resolve() == path.resolve():
            yield (
                path,
                out,
                f"{path}: is --out, too; give another folder for the sources",
            )
        else:
            yield from search(path, out)


def search(folder, out):
    """Yields what ``find_files`` does for the audio files below a folder."""
    errors, found = [], 0
    for place, folders, files in os.walk(folder, onerror=errors.append):
        place = Path(place)
        folders[:] = sorted(
            name
            for name in folders
            if name[:1] != "." and (place / name).resolve() != out.resolve()
        )
        for file in sorted(files):
            if file[:1] != "." and Path(file).suffix.lower() in ENDINGS:
                found += 1
                yield place / file, out / place.relative_to(folder), None
    for error in errors:
        reason = error.strerror or error
        yield folder, out, f"{error.filename}: cannot be searched ({reason})"
    if not found and not errors:
        yield folder, out, f"{folder}: holds no audio files ({AUDIO})"


class Summary:
    """What became of each file, kept in ``DIR/summary.json``.

    Records of earlier calls stay, but for files that are separated again.

    Arguments
    ---------
    folder : Path or None
        None: nothing is kept.

    Raises
    ------
    SeparationError
        If the folder cannot be one, or another program's summary.json is there.
    """

    def __init__(self, folder):
        self.path = folder and folder / SUMMARY
        self.records = {}
        if folder is None:
            return
        if folder.exists() and not folder.is_dir():
            raise SeparationError(f"{folder}: is a file; --out expects a folder")
        if self.path.exists():
            try:
                records = json.loads(self.path.read_text(encoding="utf-8"))["files"]
                self.records = {record["file"]: record for record in records}
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise SeparationError(
                    f"{self.path}: not a summary of separate.py; choose another --out"
                ) from error

    def make_folder(self):
        """Makes the folder, or raises SeparationError."""
        try:
            if self.path:
                self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SeparationError(
                f"{self.path.parent}: cannot be made ({error.strerror}); choose "
                "another folder for --out"
            ) from error

    def add(self, path, **record):
        """Keeps a file's record; a failure does not hide earlier sources."""
        key = str(path.absolute())
        if not ("error" in record and "outputs" in self.records.get(key, {})):
            self.records[key] = {"file": key, **record}

    def write(self):
        """Writes all records; names that are no text are escaped."""
        if self.path and self.records:
            text = json.dumps(
                {"files": list(self.records.values())}, indent=2, ensure_ascii=False
            )
            with replacing(self.path) as part:
                part.write_bytes((text + "\n").encode("utf-8", "backslashreplace"))


def separate_file(separator, path, folder, options):
    """Separates one file under a progress bar; returns its record for the summary."""
    begin = time.perf_counter()
    with progress_bar(desc=str(path), unit="s", unit_scale=True) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        outputs = separator.separate_file(
            path,
            out_folder=folder,
            output_rate=options.rate,
            overwrite=options.overwrite,
            chunk_seconds=options.chunk_seconds,
            progress=progress,
        )
    with open_audio(path) as file:
        rate, duration = file.samplerate, file.frames / file.samplerate
    return {
        "outputs": [str(output.absolute()) for output in outputs],
        "seconds": round(duration, 3),
        "sample_rate": rate,
        "model": separator.fingerprint,
        "took_seconds": round(time.perf_counter() - begin, 3),
    }


def separate_all(separator, options, summary):
    """Separates every file and prints its sources; returns the messages of failures."""
    failures, written = [], {}
    for path, folder, error in find_files(options.files, options.out):
        try:
            if error:
                raise SeparationError(error)
            for output in separator.output_paths(path, folder):
                place = output.absolute()
                if place in written:
                    raise SeparationError(
                        f"{path}: {output} is that of {written[place]} already; "
                        "separate files of one name into different folders"
                    )
            record = separate_file(separator, path, folder, options)
        except (SeparationError, OSError) as error:
            said = isinstance(error, SeparationError)
            failures.append(str(error) if said else f"{path}: {message(error)}")
            summary.add(path, error=failures[-1])
            continue
        summary.add(path, **record)
        written.update(dict.fromkeys(map(Path, record["outputs"]), path))
        print(*separator.output_paths(path, folder), sep="\n", flush=True)
    return failures


def main(arguments):
    """Runs the command line and returns its exit code."""
    options = parse(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    failures = []
    try:
        summary = Summary(options.out)
        # What takes seconds to import comes after what can be refused without it.
        import torch
        from tqdm.contrib.logging import logging_redirect_tqdm

        from exported.inference import Separator

        if options.device == "cuda" and not torch.cuda.is_available():
            raise SeparationError(
                "--device cuda: torch finds no GPU here; leave it out"
            )
        if options.threads:
            torch.set_num_threads(options.threads)
        separator = Separator.from_export(options.model, options.device)
        summary.make_folder()
    except SeparationError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        with logging_redirect_tqdm():
            failures = separate_all(separator, options, summary)
    finally:
        summary.write()
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    with plain_errors("Files whose sources were printed are done"):
        sys.exit(main(sys.argv[1:]))
