"""Finds speech that a corpus repeats and data that its subsets share.

Real corpora have had both: half of one's rows were duplicates, and most EMU recording
sessions of the published split are in more than one subset.
"""

import pandas as pd

from corpus.layout import MIX

# Findings in the order of their weight, and how reports name them.
FINDINGS = {
    "duplicated_rows": "rows that repeat another row's speech within a subset",
    "shared_rows": "pairs of speech segments in more than one subset",
    "shared_speakers": "speakers in more than one subset",
    "shared_recordings": "recordings of scenes and events in more than one subset",
    "shared_speech_files": "speech files in more than one subset",
    "shared_scene_files": "scene files in more than one subset",
    "shared_event_files": "event files in more than one subset",
}
STRICT_FINDINGS = ("duplicated_rows", "shared_rows", "shared_speakers")
MAX_EXAMPLES = 20


def audit(rows):
    """Counts repeated speech within subsets and leaks between them.

    Arguments
    ---------
    rows : pd.DataFrame
        The rows of all subsets with the columns subset, mix, indoor and, for both
        speakers, speech1_path ("|" joins several files), segment1, speaker1 (may be
        empty), scene_path, event_path, and scene_recording and event_recording (the
        place or original clip that they are from; may be empty).

    Returns
    -------
    dict
        rows and indoor_rows of each subset and for each key of FINDINGS: count, of
        (how many there are in all) and up to MAX_EXAMPLES examples.
    """
    rows = rows.reset_index(drop=True)
    subset, twice = rows["subset"], pd.concat([rows["subset"]] * 2)
    in_order = rows["segment1"] <= rows["segment2"]  # s2 + s1 is the same as s1 + s2
    first = rows["segment1"].where(in_order, rows["segment2"])
    pair = first + " + " + rows["segment2"].where(in_order, rows["segment1"])
    speech = pd.concat([rows["speech1_path"], rows["speech2_path"]])
    speakers = pd.concat([rows["speaker1"], rows["speaker2"]])
    recordings = pd.concat([rows["scene_recording"], rows["event_recording"]])
    known = recordings != ""
    by_subset = rows.groupby("subset", sort=False)["indoor"]
    return {
        "rows": by_subset.size().to_dict(),
        "indoor_rows": by_subset.sum().to_dict(),
        "duplicated_rows": _duplicated(rows[["subset", MIX.name]].assign(pair=pair)),
        "shared_rows": _shared(pair, subset),
        "shared_speakers": _shared(speakers[speakers != ""], twice[speakers != ""]),
        "shared_recordings": _shared(recordings[known], twice[known]),
        "shared_speech_files": _shared_files(speech, twice),
        "shared_scene_files": _shared_files(rows["scene_path"], subset),
        "shared_event_files": _shared_files(rows["event_path"], subset),
    }


def _duplicated(rows):
    """Returns count and examples of the rows that repeat a pair in their subset."""
    repeats = rows[rows.duplicated(["subset", "pair"], keep=False)]
    groups = repeats.groupby(["subset", "pair"], sort=False)[MIX.name]
    listed = repeats[groups.ngroup() < MAX_EXAMPLES].groupby("pair", sort=False)
    examples = [
        {"name": pair, "mixes": mixes.head(MAX_EXAMPLES).tolist()}
        for pair, mixes in listed[MIX.name]
    ]
    count = len(repeats) - groups.ngroups  # the first of each group is no duplicate
    return {"count": count, "of": len(rows), "examples": examples}


def _shared_files(paths, subsets):
    """Returns _shared of source paths, of which a row may join several with "|"."""
    files = paths.str.split("|").reset_index(drop=True).explode()
    return _shared(files, subsets.reset_index(drop=True)[files.index])


def _shared(names, subsets):
    """Returns count and examples of the names that occur in more than one subset."""
    uses = pd.DataFrame({"name": names.to_numpy(), "subset": subsets.to_numpy()})
    uses = uses.value_counts(sort=False)  # rows of each (name, subset)
    names = uses.index.get_level_values("name")
    shared = names[names.duplicated()].unique()
    examples = [
        {"name": name, "rows": uses.loc[name].to_dict()}
        for name in shared[:MAX_EXAMPLES]
    ]
    return {"count": len(shared), "of": names.nunique(), "examples": examples}


def describe(report):
    """Returns an audit as lines to be read: rows of each subset, then all findings."""
    return [
        f"{subset}: {count} rows, {report['indoor_rows'][subset]} of them indoor"
        for subset, count in report["rows"].items()
    ] + [
        f"{report[key]['count']} of {report[key]['of']} {text}"
        if report[key]["of"]
        else f"{text}: not known, the corpus names none"
        for key, text in FINDINGS.items()
    ]


def describe_defects(report, keys=tuple(FINDINGS)):
    """Returns lines on what an audit did find, each with an example.

    Arguments
    ---------
    report : dict
        What audit returned.
    keys : sequence of str
        The findings that count.
    """
    return [
        f"{report[key]['count']} of {report[key]['of']} {FINDINGS[key]}, "
        f"e.g. {report[key]['examples'][0]['name']}"
        for key in keys
        if report[key]["count"]
    ]
