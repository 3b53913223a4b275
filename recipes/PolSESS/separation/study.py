#!/usr/bin/env python3
"""Runs a study, or goes on with it: searches and validations that depend on each other.

    python study.py sweeps/fast.yaml --data_folder /path/to/PolSESS --workers 2

Started again with the same command it goes on; started on several machines that share
the database and the folder, they work together. ``--key value`` overrides a setting of
all trials.
"""

import argparse
import multiprocessing
import os
import shlex
import sys
from pathlib import Path

import yaml

from corpus.atomic import replacing
from corpus.locks import hold
from corpus.workers import die_with_parent
from studies.plan import read_study
from studies.stages import FIXED

MISSING = (
    "Studies need Oríon, the extra [hpo]: pip install -e '.[hpo]' in the root of the "
    "repository (Python 3.10 or 3.11; sweeps/README.md says more)"
)


def main(arguments):
    """Runs, shows or explains a study."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("study", help="YAML, such as sweeps/fast.yaml")
    parser.add_argument("--scale", help="YAML of factors that make it smaller")
    parser.add_argument("--workers", type=int, default=1, help="processes; default: 1")
    parser.add_argument("--status", action="store_true", help="show how far it is")
    parser.add_argument("--dry_run", action="store_true", help="show what it would do")
    parser.add_argument(
        "--seconds_per_example", type=float, help="for the hours that --dry_run shows"
    )
    options, rest = parser.parse_known_args(arguments)
    if options.workers < 1:
        parser.error("--workers: expected 1 or more")
    try:
        study = read_study(options.study, options.scale, _overrides(rest))
        if options.dry_run:
            show_plan(study, options.seconds_per_example)
        elif options.status:
            show_status(study)
        else:
            run(study, options.workers)
    except KeyboardInterrupt:
        sys.exit("Interrupted; the same command goes on")
    except ModuleNotFoundError as error:
        sys.exit(MISSING if error.name.startswith("orion") else str(error))
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")


def _overrides(rest):
    """Returns ``--key value`` pairs as a dict."""
    pairs = {}
    while rest:
        key, has_value, value = rest.pop(0).partition("=")
        if not key.startswith("--") or (not has_value and not rest):
            raise ValueError(
                f"{key}: expected STUDY.yaml first, then --KEY VALUE pairs"
            )
        pairs[key[2:]] = yaml.safe_load(value if has_value else rest.pop(0))
    return pairs


def run(study, workers):
    """Works on a study with a number of processes, and shows how far it came."""
    from studies.worker import terminated_as_interrupted, work

    _keep_record(study)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // workers)))
    if workers == 1:
        work(study)
    else:
        with terminated_as_interrupted():
            _run_workers(study, workers)
    show_status(study)


def _run_workers(study, workers):
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_work_as_child, args=(study, os.getpid()))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()  # which lets them give their trials back
        for process in processes:
            process.join()
        raise
    codes = [process.exitcode for process in processes]
    killed = [-code for code in codes if code < 0]
    if killed:
        print(f"{len(killed)} of {workers} workers were killed (signals {killed})")
    if not any(code == 0 for code in codes):
        raise RuntimeError("no worker came to the end; the same command goes on")


def _work_as_child(study, parent):
    from studies.worker import work

    die_with_parent(parent)
    try:
        work(study)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")


def _keep_record(study):
    """Writes study.yaml, or refuses to go on with another study in its folder."""
    path = study.folder / "study.yaml"
    with hold(study.folder, wait=True, name=".ledger.lock"):
        if path.is_file():
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            if before != yaml.safe_load(yaml.safe_dump(study.record)):
                raise ValueError(
                    f"{path} differs from what is asked for now, in "
                    f"{', '.join(_differences(before, study.record))}. Give the study "
                    f"another `name:` to begin anew, or remove {study.folder}"
                )
            return
        with replacing(path) as temporary:
            text = yaml.safe_dump(study.record, sort_keys=False, width=88)
            temporary.write_text(text, encoding="utf-8")


def _differences(before, now):
    """Returns the places in which two records differ."""
    first, second = dict(_leaves(before)), dict(_leaves(now))
    places = dict.fromkeys([*first, *second])
    return [place for place in places if first.get(place) != second.get(place)]


def _leaves(value, where=""):
    """Returns pairs of a place in nested values and what is there."""
    if isinstance(value, dict):
        inside = [(f"{where}.{key}".removeprefix("."), v) for key, v in value.items()]
    elif isinstance(value, list):
        inside = [(f"{where}[{i}]", v) for i, v in enumerate(value)]
    else:
        return [(where, value)]
    return [leaf for place, v in inside for leaf in _leaves(v, place)]


def show_plan(study, seconds_per_example):
    """Prints the command of each stage's trials and what they cost at most."""
    total = 0
    for stage in study.stages:
        cost = stage.cost()
        total += cost or 0
        trials = stage.max_trials() or f"{stage.search['hours']} hours of"
        after = f", after {', '.join(stage.needs)}" if stage.needs else ""
        print(f"# {stage.name}: {trials} trials ({stage.algorithm}){after}")
        print(f"#   at most {_examples(cost, seconds_per_example)}")
        params = _placeholders(stage)
        folder = study.folder / "runs" / "RUN"
        line = shlex.join(["python", *study.command(stage, params, folder)])
        print(line, end="\n\n")
    print(f"# in all at most {_examples(total, seconds_per_example)}")


def _placeholders(stage):
    if stage.algorithm == FIXED:
        found = dict(stage.runs["grid"])
        if stage.runs["top"]:
            best = f"the best of {stage.runs['top']['stages']}"
            found = {"top": best, **found}
        if stage.seeds:
            found["seed"] = stage.seeds
        return found
    return {key: str(prior) for key, prior in stage.search["space"].items()}


def _examples(cost, seconds_per_example):
    if cost is None:
        return "unknown (train_items or N_epochs is not set)"
    text = f"{cost:,} training examples"
    if seconds_per_example:
        text += f", {cost * seconds_per_example / 3600:.1f} hours of one worker"
    return text


def show_status(study):
    """Prints how far a study is, stage by stage."""
    from studies.ledger import ledger
    from studies.storage import Storage

    if not (study.folder / "study.yaml").is_file():
        print(f"{study.name}: not begun")
        return
    storage = Storage(study)
    table = ledger(study, storage)
    print(f"{study.name}: {study.folder}")
    for stage in study.stages:
        rows = table[table["stage"] == stage.name]
        counts = rows["status"].value_counts()
        state = "open" if len(rows) else "not begun"
        if storage.finished(stage):
            state = "finished"
        line = f"  {stage.name}: {state}, {counts.get('completed', 0)} completed"
        for status in ("failed", "running", "waiting"):
            line += f", {counts[status]} {status}" if status in counts else ""
        if rows["score"].notna().any():
            line += (
                f", best {rows['score'].max():.2f} dB, {rows['new_items'].sum():,.0f} "
                f"examples, {rows['worker_seconds'].sum() / 3600:.2f} h"
            )
        print(line)
    print(
        f"  in all: {table['new_items'].sum():,.0f} training examples, "
        f"{table['worker_seconds'].sum() / 3600:.2f} h of workers. Ledger: "
        f"{Path(study.folder) / 'ledger.csv'}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
