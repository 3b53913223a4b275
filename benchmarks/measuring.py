"""Measures in alternation and in processes of their own; writes tables of figures."""

import importlib.metadata
import json
import math
import multiprocessing
import operator
import os
import platform
import resource
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "speechbrain", "numpy", "triton", "mamba-ssm")
MEMORY_LIMIT = 16e9  # bytes that a process of a case may allocate on the CPU
TIME_LIMIT = 1200  # seconds that it may take
REFERENCE = "reference"
COMPARE = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True)
class Figure:
    """One row of a table.

    Arguments
    ---------
    what : str
        What was measured.
    measured : float or None
        None if the case failed; the note says why.
    unit : str
        Unit of measured and reference.
    reference : float or None
        The same of what it is compared with.
    target : str or None
        What to reach: "ratio" or "measured", one of ``COMPARE``, a number.
    note : str
        What else a reader needs to know.
    """

    what: str
    measured: float | None
    unit: str = ""
    reference: float | None = None
    target: str | None = None
    note: str = ""

    @property
    def ratio(self):
        """Measured over reference, None without one of them."""
        if self.measured is None or not self.reference:
            return None
        return self.measured / self.reference

    @property
    def met(self):
        """Whether the target is reached, None without target."""
        if self.target is None:
            return None
        quantity, sign, bound = self.target.split()
        value = getattr(self, quantity)
        return value is not None and COMPARE[sign](value, float(bound))


def alternate(runs, repeats, device="cpu", seconds=90, settle=False):
    """Times runs in alternation, A B A B ..., after one warm-up of each.

    A run that raises is left out from there on.

    Arguments
    ---------
    runs : dict
        Name -> callable without arguments.
    repeats : int
        Rounds at most.
    device : str
        Waited for after every run if it is CUDA.
    seconds : float
        No round begins later than this after the first, the warm-up, ended.
    settle : bool
        Call each run once more before it is timed, so that the heap and the caches are
        as repeating it leaves them.

    Returns
    -------
    dict
        Name -> median of seconds, None if it failed, and a note.
    """
    taken, results = {name: [] for name in runs}, {}
    for count in range(1 + repeats):
        if count == 1:
            begin = time.perf_counter()
        elif count > 1 and time.perf_counter() - begin > seconds:
            break
        for name in [name for name in runs if name not in results]:
            try:
                if settle and count:
                    _time(runs[name], device)
                taken[name].append(_time(runs[name], device))
            except Exception as error:
                results[name] = None, reason(error)
    for name in [name for name in runs if name not in results]:
        warm_up, *times = taken[name]
        note = f"median of {len(times)}, warm-up {warm_up:.1f} s"
        results[name] = statistics.median(times), note
    return results


def _time(run, device):
    start = time.perf_counter()
    run()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(what, unit, results, targets, scale=1):
    """Returns the Figures of results beside the reference among them.

    Arguments
    ---------
    what, unit : str
        Of the figures, which are named "<what>, <name of the result>".
    results : dict
        Name, one of them ``REFERENCE`` -> value, None if it failed, and a note.
    targets : dict
        Name of a figure -> target.
    scale : float
        Unit of the values in that of the figures.
    """
    reference, why = results[REFERENCE]
    rows = []
    for name, (value, note) in results.items():
        if name == REFERENCE:
            continue
        if reference is None:
            note = f"{note} (reference: {why})".strip()
        measured, beside = (x and x * scale for x in (value, reference))
        target = targets.get(f"{what}, {name}")
        rows.append(Figure(f"{what}, {name}", measured, unit, beside, target, note))
    return rows


def reason(error):
    """Returns the kind of an exception and its first line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:200]


def isolated(function, *arguments):
    """Calls a module's function in a new process, which may use ``MEMORY_LIMIT``.

    Returns
    -------
    result : object
        What it returns, which is pickled, as are its arguments; None if it fails.
    failure : str
        The exception, how the process ended, or that it took longer than
        ``TIME_LIMIT``; empty otherwise.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if receiver.poll(TIME_LIMIT):
            return receiver.recv()
        return None, f"took longer than {TIME_LIMIT} s"
    except EOFError:
        process.join()
        return None, f"its process ended with exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()


def _send(sender, function, arguments):
    if not torch.cuda.is_available():  # whose driver reserves more than it uses
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (int(MEMORY_LIMIT), hard))
    try:
        sender.send((function(*arguments), ""))
    except Exception as error:
        sender.send((None, reason(error)))


def peak_memory(device="cpu"):
    """Returns the peak in bytes: of this process, or of torch's tensors on CUDA."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage starts from the peak of the process before
        lines = status.read_text().splitlines()
        (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        return int(peak) * 1024
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo


def machine():
    """Returns what the figures depend on, as JSON values."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    has_gpu = torch.cuda.is_available()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_GB": round(pages / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "versions": versions,
    }


def write_report(name, title, figures, folder=RESULTS):
    """Prints a table and writes it as ``<name>.md`` and ``<name>.json``.

    Arguments
    ---------
    name : str
        Of the files.
    title : str
        One line that says what was measured and how.
    figures : list
        Figure
    folder : Path
        Where to write.

    Returns
    -------
    str
        The Markdown.
    """
    about = machine()
    rows = [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in figures]
    columns = ("measured", "reference", "ratio")
    lines = [
        f"# {title}\n",
        _describe(about) + "\n",
        "| what | measured | reference | unit | ratio | target | met | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        measured, reference, ratio = (_number(row[column]) for column in columns)
        met = {True: "yes", False: "no", None: ""}[row["met"]]
        cells = (row["what"], measured, reference, row["unit"], ratio)
        cells += (row["target"] or "", met, row["note"].replace("|", "/"))
        lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines) + "\n"
    print(table, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(table, encoding="utf-8")
    content = {"title": title, "machine": about, "figures": rows}
    text = json.dumps(content, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return table


def _describe(about):
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    gpu = f"{about['gpu']}; " if about["gpu"] else ""
    return (
        f"{gpu}{about['cpu']}, {about['cores']} cores, {about['memory_GB']:g} GB; "
        f"threads of torch: {about['threads']}; {about['system']}; {versions}."
    )


def _number(value):
    """Returns integers in full and other numbers with three digits at least."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits)}f}"
