"""Kills tiny training runs at random moments and at each of their calls to the disk.

    python tests/recipes/PolSESS/separation/chaos.py --kills 100 --calls

Whatever the moments, the run that is started again until it ends must end as one that
was never killed, to the bit: checkpoints, logs, scores, exported weights. Processes are
forked from this one, which has everything imported, so that a start takes no time; the
test suite runs a short form.
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[3]
sys.path[:0] = [
    str(TESTS),
    str(TESTS / "recipes" / "PolSESS"),
    str(Path(__file__).parent),
]

import safetensors.torch  # noqa: E402
import torch  # noqa: E402
from tiny_run import arguments, assert_same, last_checkpoint  # noqa: E402

import conftest  # noqa: E402, F401  (finds the recipe)
import train  # noqa: E402
from corpus.build import CorpusSettings, build_corpus  # noqa: E402
from corpus.providers import folder as folder_provider  # noqa: E402
from recipekit.files import keyed  # noqa: E402
from tiny_corpus import write_corpus  # noqa: E402
from tiny_sources import write_folder  # noqa: E402

ACTING = [{"epoch": 1, "variants": ["SER", "SE", "C", "R"], "plateau": True}]
COMMON = {"dropout": 0.2, "lr": 0.01, "curriculum": ACTING, "score_workers": 0}
# Each with what has to survive; together all that a run remembers.
RUNS = {
    "plateau, early stop, accumulation": {
        **COMMON,
        "N_epochs": 6,
        "early_stop_patience": 2,
        "lr_patience": 0,
        "grad_accumulation_factor": 2,
        "ckpt_interval_steps": 1,
    },
    "warm-up, one cycle, per variant": {
        **COMMON,
        "N_epochs": 4,
        "early_stop_patience": 1,
        "optimizer": "nadam",
        "scheduler": "onecycle",
        "lr_warmup": 1.5,
        "valid_per_variant": True,
    },
    "mixing on the fly, cosine, loader processes": {
        **COMMON,
        "N_epochs": 3,
        "early_stop_patience": 2,
        "scheduler": "cosine",
        "lr_warmup": 0.5,
        "dynamic_mixing": True,
        "train_items": 8,
        "speeds": [95, 100, 105],
        "sample_rate": 8000,
        "num_workers": 1,
        "ckpt_interval_steps": 2,
    },
}
# Calls by which the state on the disk changes.
CALLS = ("os.replace", "os.fsync", "os.unlink", "shutil.rmtree", "torch.save")


def make_corpora(folder):
    """Returns a corpus for each of RUNS."""
    fixed = write_corpus(folder / "fixed", rows=(8, 4, 2))
    recordings = write_folder(folder / "recordings")
    sources, _ = folder_provider.make_sources(recordings, split=(50, 25, 25))
    mixed = folder / "mixed"
    settings = CorpusSettings((4, 3, 2), 8000, seconds=0.25)
    build_corpus(mixed, sources, settings, workers=1, progress=False)
    return {
        name: mixed if "dynamic_mixing" in changes else fixed
        for name, changes in RUNS.items()
    }


def start(line, before=None):
    """Returns a process that trains."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_train, args=(line, before))
    process.start()
    return process


def _train(line, before):
    torch.set_num_threads(1)
    monitored = train.Separation.monitored

    def falling(self, valid_stats):
        """The score, but from the third epoch on it falls: so that runs stop early."""
        return monitored(self, valid_stats) - 10 * max(0, self.state.current - 2)

    train.Separation.monitored = falling
    if before:
        before()
    output = os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    train.main([*line, "--noprogressbar"])
    os._exit(0)


def kill_at_call(number, after):
    """Returns what makes a process kill itself at its n-th call of CALLS."""

    def arm():
        count = 0

        def watched(function):
            def call(*args, **kwargs):
                nonlocal count
                count += 1
                this = count  # calls may be within one another
                if this == number and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                try:
                    return function(*args, **kwargs)
                finally:
                    if this == number and after:
                        os.kill(os.getpid(), signal.SIGKILL)

            return call

        for name in CALLS:
            module, function = name.split(".")
            module = sys.modules[module]
            setattr(module, function, watched(getattr(module, function)))

    return arm


def outcome(folder):
    """Returns all that must be equal of a finished run, by name."""
    folder = Path(folder)
    texts = ("train_log.txt", "test_results.csv", "hyperparams.yaml")
    found = {name: (folder / name).read_text(encoding="utf-8") for name in texts}
    found["hyperparams.yaml"] = found["hyperparams.yaml"].replace(str(folder), "RUN")
    found["checkpoint"] = last_checkpoint(folder)
    for kept in ("brain", "CKPT"):
        found["checkpoint"].pop(kept, None)
    weights = safetensors.torch.load_file(folder / "export" / "model.safetensors")
    return found | {"export": dict(weights)}


def finish(line, folder, kills=()):
    """Runs to the end, killed after each of some delays; returns the kills that hit."""
    hit = 0
    for delay in kills:
        process = start(line)
        process.join(delay)
        if process.is_alive():
            process.kill()
            hit += 1
        process.join()
    process = start(line)
    process.join()
    assert process.exitcode == 0, f"{folder}: exit code {process.exitcode}"
    return hit


def main():
    """Kills, compares, and says how many kills were survived."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=100, help="at random moments")
    parser.add_argument("--calls", action="store_true", help="also at each disk call")
    parser.add_argument("--every", type=int, default=1, help="n-th disk call only")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    random = at_calls = 0
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        corpora = make_corpora(folder)
        for name, changes in RUNS.items():
            whole = folder / "whole"
            line = arguments(corpora[name], whole, **changes)
            finish(line, whole)  # once for the caches
            shutil.rmtree(whole)
            began = time.monotonic()
            finish(line, whole)
            lasted = time.monotonic() - began
            expected = outcome(whole)
            epochs = len(expected["checkpoint"]["state"]["history"])
            print(f"{name}: {epochs} epochs, {lasted:.1f} s", flush=True)
            shutil.rmtree(whole)

            hit = run = 0
            while hit < options.kills / len(RUNS):
                run += 1
                delays = [
                    keyed.uniform(0, lasted, options.seed, name, run, i)
                    for i in range(3)
                ]
                hit += finish(line, whole, delays)
                assert_same(outcome(whole), expected, f"{name}, run {run}")
                shutil.rmtree(whole)
            print(f"  {hit} kills in {run} runs: no difference", flush=True)
            random += hit

            number = 1
            while options.calls:
                for after in (False, True):
                    process = start(line, kill_at_call(number, after))
                    process.join()
                    if process.exitcode == 0:
                        break
                    finish(line, whole)
                    where = f"{name}, {'after' if after else 'before'} call {number}"
                    assert_same(outcome(whole), expected, where)
                    shutil.rmtree(whole)
                    at_calls += 1
                if process.exitcode == 0:
                    shutil.rmtree(whole)
                    break
                number += options.every
            if options.calls:
                print(f"  killed at its {number} disk calls: no difference")
    print(f"{random} kills at random, {at_calls} at disk calls: 0 differences")


if __name__ == "__main__":
    main()
