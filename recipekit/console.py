"""How every command speaks: progress that a log file can hold, errors in one line."""

import errno
import logging
import os
import re
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

LIBRARY = Path(__file__).resolve().parent
INTERRUPTED = 130  # exit status of a command stopped by Ctrl-C, as shells have it
# What the code does wrong, not the user.
FAULTS = (
    *(AssertionError, AttributeError, LookupError, NameError, TypeError),
    ZeroDivisionError,
)
# Seconds between two drawings of a bar: on a terminal, and in a file, where each one
# is a line that stays.
ON_TERMINAL, IN_FILE = 0.1, 30.0
# Warned of when SpeechBrain's loggers are imported: figures that nobody makes here.
logging.getLogger("speechbrain.utils.train_logger").addFilter(
    lambda record: "torchvision" not in record.getMessage()
)


@contextmanager
def plain_errors(advice="The same command resumes"):
    """Ends the process with a message where the user can correct what is wrong.

    Errors that the recipes raise, and those of files, are such; any other is a fault of
    the code and keeps its traceback. Text that the terminal cannot show is replaced,
    and a log that cannot be written (full disk) does not hide the error behind its own.

    Arguments
    ---------
    advice : str
        What to do after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    logging.raiseExceptions = False
    try:
        yield
    except KeyboardInterrupt:
        _close_bars()
        print(f"Interrupted. {advice}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not explained(error):
            raise
        _close_bars()
        print(f"error: {message(error)}", file=sys.stderr)
        sys.exit(1)


def _close_bars():
    """Ends the lines of bars that are still being drawn."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def explained(error):
    """Returns whether an error says what the user can correct, also one of a worker."""
    if isinstance(error, OSError):
        return True
    if isinstance(error, FAULTS):
        return False
    remote = _remote_traceback(error)
    files = re.findall(r'^ *File "(.+)", line', remote, re.MULTILINE)
    frames = traceback.extract_tb(error.__traceback__)
    files = files or [frame.filename for frame in frames]
    return bool(files) and _is_ours(Path(files[-1]).resolve())


def _is_ours(path):
    """Returns whether a file is the library's or a recipe's, not an installed one."""
    if path.is_relative_to(LIBRARY):
        return True
    installed = {"stdlib", "platstdlib", "purelib", "platlib"}
    paths = sysconfig.get_paths()
    return path.is_file() and not any(
        path.is_relative_to(Path(paths[kind]).resolve()) for kind in installed
    )


def _remote_traceback(error):
    """Returns the traceback of an error in a worker process as text, or ""."""
    for text in (getattr(error.__cause__, "tb", ""), str(error)):  # a pool, a loader
        if "Traceback (most recent call last):" in str(text):
            return text
    return ""


def message(error):
    """Returns what an error says, with the file that it is about."""
    text = str(error)
    if "Traceback (most recent call last):" in text:  # of a loader's worker
        text = text.strip().splitlines()[-1].partition(": ")[2]
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text += ". Make room and give the same command again"
    return text


def progress_bar(*args, **kwargs):
    """Returns a tqdm bar that is drawn ten times a second at most, in files seldom.

    Arguments are those of tqdm; update its postfix with ``refresh=False``.
    """
    seconds = ON_TERMINAL if sys.stderr.isatty() else IN_FILE
    times = {"mininterval": seconds, "maxinterval": max(10.0, seconds)}
    return tqdm(*args, **{"dynamic_ncols": True, **times, **kwargs})
