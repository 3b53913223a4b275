"""How glibc treats the memory that torch frees on the CPU."""

import ctypes

# Of mallopt(3): parameters, and their values as they are by default.
DEFAULTS = {-1: 128 << 10, -2: 128 << 10, -4: 65536}  # trim, pad, number of mmaps
KEEP = {-1: 2**31 - 1, -2: 64 << 20, -4: 0}


def keep_freed_memory(keep=True):
    """Makes the process keep freed memory for its next step, where glibc is there.

    By default glibc gives large blocks back to the kernel and asks for them again in
    each training step; the page faults take a third of a recurrent model's step.
    The process then stays as large as it once was.

    Arguments
    ---------
    keep : bool
        False: as by default.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in (KEEP if keep else DEFAULTS).items():
            mallopt(parameter, value)
