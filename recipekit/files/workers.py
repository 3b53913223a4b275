"""Worker processes that do not outlive the process they work for."""

import ctypes
import os
import signal
from concurrent.futures import ProcessPoolExecutor

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def worker_pool(workers=None, initializer=None, initargs=()):
    """Returns a ProcessPoolExecutor whose processes die with this one.

    A pool's idle processes would else wait for ever for one that was killed.

    Arguments
    ---------
    workers : int, optional
        Number of processes; default: as many as there are cores.
    initializer : callable, optional
        Called in each process first, with ``initargs``.
    initargs : tuple
    """
    return ProcessPoolExecutor(
        workers or os.cpu_count(),
        initializer=_start,
        initargs=(os.getpid(), initializer, initargs),
    )


def die_with_parent(parent):
    """Makes this process end when its parent, whose id is given, does (on Linux)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):  # Linux
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def _start(parent, initializer, initargs):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    die_with_parent(parent)
    if initializer:
        initializer(*initargs)
