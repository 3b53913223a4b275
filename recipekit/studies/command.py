"""The command study.py: runs, resumes, shows or explains a study."""

import argparse
import multiprocessing
import os
import shlex
import sys
from pathlib import Path

import yaml

from recipekit.console import INTERRUPTED, plain_errors
from recipekit.files.atomic import replacing
from recipekit.files.locks import hold
from recipekit.files.workers import die_with_parent
from recipekit.studies.study_file import read_study
from recipekit.training.hparams_keys import split_keys

MISSING = (
    "Studies need Oríon, the extra [hpo]: pip install -e '.[hpo]' in the root of the "
    "repository (Python 3.10 or 3.11; sweeps/README.md says more)"
)


def main(arguments, recipe):
    """Runs, shows or explains a study of a recipe."""
    parser = argparse.ArgumentParser(
        description="Runs or resumes a study: searches and validations of a recipe.",
        epilog="--KEY VALUE pairs override settings of all trials, as in "
        "--data_folder /path/to/corpus",
        allow_abbrev=False,
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
    if options.seconds_per_example is not None and options.seconds_per_example <= 0:
        parser.error("--seconds_per_example: expected a number above 0")
    study = read_study(options.study, recipe, options.scale, _overrides(rest))
    try:
        if options.dry_run:
            show_plan(study, options.seconds_per_example)
        elif options.status:
            show_status(study)
        else:
            run(study, options.workers, recipe)
    except ModuleNotFoundError as error:
        if not error.name.startswith("orion"):
            raise
        raise ValueError(MISSING) from error


def _overrides(rest):
    """Returns ``--key value`` pairs as a dict."""
    words, given = split_keys(rest)
    if words:
        raise ValueError(
            f"{words[0]}: expected STUDY.yaml first, then --KEY VALUE pairs"
        )
    return {key: _value(f"--{key}", text) for key, text in given.items()}


def _value(key, text):
    """Returns what a text says as YAML; what is text there is taken as it stands."""
    if not text.strip():
        raise ValueError(f"{key} is empty; expected a value, or null for none")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, str) else value


def run(study, workers, recipe):
    """Works on a study with a number of processes, and shows how far it came."""
    from recipekit.studies.worker import terminated_as_interrupted, work

    _keep_record(study, recipe)
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
        raise RuntimeError("No worker came to the end. The same command resumes")


def _work_as_child(study, parent):
    from recipekit.studies.worker import work

    die_with_parent(parent)
    with plain_errors():
        try:
            work(study)
        except KeyboardInterrupt:  # which the first process tells of
            sys.exit(INTERRUPTED)


def _keep_record(study, recipe):
    """Writes study.yaml, or refuses to resume another study in its folder."""
    path = study.folder / "study.yaml"
    folders = [stage.settings.get("data_folder") for stage in study.stages]
    recordings = [_corpus(recipe, folder) for folder in folders]
    now = {**study.record, "recordings": recordings}
    with hold(study.folder, wait=True, name=".ledger.lock"):
        if not path.is_file():
            with replacing(path) as temporary:
                text = yaml.safe_dump(now, sort_keys=False, width=88)
                temporary.write_text(text, encoding="utf-8")
            return
        begun_with = _check_record(study)
        for stage, then, here in zip(study.stages, begun_with, recordings, strict=True):
            if then["digest"] != here["digest"]:
                raise ValueError(
                    f"{path}: {stage.name} was begun with other recordings, of "
                    f"{then['data_folder']}, found {here['data_folder']}. Give "
                    "the data_folder of the study's other trials, or the study another "
                    "`name:` to begin anew"
                )


def _check_record(study):
    """Raises ValueError if a study was begun as another one; returns its recordings."""
    path = study.folder / "study.yaml"
    before = _read_record(path)
    recordings = before.pop("recordings")
    if before != yaml.safe_load(yaml.safe_dump(study.record)):
        raise ValueError(
            f"{path} differs from what is asked for now, in "
            f"{', '.join(_differences(before, study.record))}. Give what it was begun "
            "with, or the study another `name:` to begin anew; or remove "
            f"{study.folder}"
        )
    return recordings


def _read_record(path):
    """Returns what study.yaml of a study's folder says."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        [entry["digest"] for entry in found["recordings"]]
    except (yaml.YAMLError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path}: is not a valid record of a study ({error}). Remove "
            f"{path.parent}, or give the study another `name:`"
        ) from error
    return found


def _corpus(recipe, data_folder):
    """Returns a corpus' folder, and what tells it apart wherever it is."""
    if data_folder is None:
        return {"data_folder": None, "digest": None}  # that of the recipe's own
    folder = str(Path(data_folder).resolve())
    return {"data_folder": folder, "digest": recipe.corpus_digest(folder)}


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
    """Prints what each stage has, what it costs, and the command of a trial of it."""
    total = 0
    for stage in study.stages:
        cost = stage.cost()
        total += cost or 0
        trials = stage.max_trials() or f"{stage.search['hours']} hours of"
        after = f", after {', '.join(stage.needs)}" if stage.needs else ""
        print(f"# {stage.name}: {trials} trials ({stage.algorithm}){after}")
        print(f"#   about {_examples(cost, seconds_per_example)}")
        varied, example = _varied(study, stage)
        for key, values in varied.items():
            print(f"#   {key}: {values}")
        print("# such as" if varied else "# that is")
        folder = study.run_folder(stage, example)
        print(
            shlex.join(["python", *study.command(stage, example, folder)]), end="\n\n"
        )
    print(f"# in all about {_examples(total, seconds_per_example)}")


def _varied(study, stage):
    """Returns what a stage varies, in words, and one of its trials' params."""
    if stage.search:
        space = stage.search["space"]
        words = {key: str(prior) for key, prior in space.items()}
        return words, {key: prior.middle() for key, prior in space.items()}
    words, example = {}, {}
    if top := stage.runs["top"]:
        _, example = _varied(study, study.stage(top["stages"][0]))
        best = f"{top['count']} best of {', '.join(top['stages'])}"
        words = {", ".join(example): f"those of the {best}"}
    grid = stage.runs["grid"] | ({"seed": stage.seeds} if stage.seeds else {})
    words |= {key: ", ".join(map(str, values)) for key, values in grid.items()}
    return words, example | {key: values[0] for key, values in grid.items()}


def _examples(cost, seconds_per_example):
    if cost is None:
        return "unknown (train_items or N_epochs is not set)"
    text = f"{cost:,} training examples"
    if seconds_per_example:
        text += f", {cost * seconds_per_example / 3600:.1f} hours of one worker"
    return text


def show_status(study):
    """Prints how far a study is, stage by stage."""
    from recipekit.studies.ledger import ledger
    from recipekit.studies.storage import Storage

    if not (study.folder / "study.yaml").is_file():
        print(f"{study.name}: not begun")
        for path in sorted(study.folder.parent.glob(f"{study.name}-*/study.yaml")):
            print(f"  but {path.parent} is: give the --scale that it was begun with")
        return
    _check_record(study)
    storage = Storage(study)
    with storage.explained():
        table = ledger(study, storage)
        finished = {stage.name: storage.finished(stage) for stage in study.stages}
    print(f"{study.name}: {study.folder}")
    for stage in study.stages:
        rows = table[table["stage"] == stage.name]
        counts = rows["status"].value_counts()
        state = "open" if len(rows) else "not begun"
        if finished[stage.name]:
            state = "finished"
        line = f"  {stage.name}: {state}, {counts.get('completed', 0)} completed"
        for status in ("failed", "running", "waiting"):
            line += f", {counts[status]} {status}" if status in counts else ""
        if rows["score"].notna().any():
            line += (
                f", best {rows['score'].max():.2f} {study.unit}, "
                f"{rows['new_items'].sum():,.0f} examples, "
                f"{rows['worker_seconds'].sum() / 3600:.2f} h"
            )
        print(line)
    print(
        f"  in all: {table['new_items'].sum():,.0f} training examples, "
        f"{table['worker_seconds'].sum() / 3600:.2f} h of workers. Ledger: "
        f"{Path(study.folder) / 'ledger.csv'}"
    )
