"""The CSV files of a corpus: PolSESS' own columns, and the provenance beside them."""

from collections import Counter

from corpus.layout import (
    EV_REVERB,
    EVENT,
    MIX,
    SCENE,
    SP1_REVERB,
    SP2_REVERB,
    SPEAKERS,
    STORED,
)
from corpus.locate import corpus_csv, provenance_csv
from corpus.render import REASONS
from corpus.sources import TOLD
from recipekit.files.atomic import csv_writer

COLUMNS = (
    "subset",
    "speech1OryginalPath",
    "speech1Start",
    "speech1End",
    "speech2OryginalPath",
    "speech2Start",
    "speech2End",
    "SSR",
    "sceneOryginalPath",
    "sceneStart",
    "sceneEnd",
    "sceneRandomDB",
    "sceneOffsetDB",
    "sceneVolumeGain",
    "eventOryginalPath",
    "eventStart",
    "eventEnd",
    *(layer.column for layer in (*SPEAKERS, EVENT, SCENE)),
    *(layer.column for layer in (SP1_REVERB, SP2_REVERB, EV_REVERB, MIX)),
    "sceneClass",
    "eventClass",
    "preDelayForEvent",
    "preDelay1",
    "preDelay2",
    "highCut",
    "diffusion",
    "decay",
    "freqDamp",
)
PROVENANCE = (
    MIX.column,
    "speaker1",
    "speaker2",
    "speech1Source",
    "speech2Source",
    "sceneSource",
    "sceneRecording",
    "eventSource",
    "eventRecording",
    "SNR",
    "silentDraws",
    "limitedDraws",
    "unreadableDraws",
    "transcript1",
    "transcript2",
)
PROVENANCE_TOLD = tuple(f"{name}{number}" for name in TOLD for number in (1, 2))


def cells(subset, recording, names):
    """Returns a row's cells of both CSV files.

    Arguments
    ---------
    subset : str
    recording : Recording
    names : dict
        File name of each layer that the recording has, by the layer's name.

    Returns
    -------
    dict
        JSON values by column.
    """
    plan = recording.plan

    def place(field, segment):
        return {
            f"{field}OryginalPath": segment.name,
            f"{field}Start": segment.start + 1,
            f"{field}End": segment.start + segment.frames,
            f"{field}Source": segment.clips[0].source,
            f"{field}Recording": segment.clips[0].recording,
        }

    first, second = plan.speech
    row = {"subset": subset, "SSR": plan.ssr}
    row |= place("speech1", first) | place("speech2", second)
    row |= place("scene", plan.scene) | place("event", plan.event)
    redraws = Counter(reason for reason, _, _ in recording.redraws)
    row |= {
        "sceneRandomDB": plan.scene_offset,
        "sceneOffsetDB": plan.scene_offset,
        "sceneVolumeGain": recording.scene_gain,
        "sceneClass": plan.scene_class,
        "eventClass": plan.event_class,
        **{layer.column: names.get(layer.name, "") for layer in STORED},
        "speaker1": first.clips[0].speaker,
        "speaker2": second.clips[0].speaker,
        "SNR": round(recording.snr, 3),
        **{f"{reason}Draws": redraws[reason] for reason in REASONS},
        "transcript1": first.transcript,
        "transcript2": second.transcript,
        **{
            f"{name}{number}": getattr(segment.clips[0], name)
            for name in TOLD
            for number, segment in enumerate(plan.speech, start=1)
        },
    }
    numbers = dict.fromkeys(COLUMNS[COLUMNS.index("preDelayForEvent") :], "NaN")
    if plan.plates:
        one, two, event = plan.plates
        numbers = {
            "preDelayForEvent": event.pre_delay,
            "preDelay1": one.pre_delay,
            "preDelay2": two.pre_delay,
            "highCut": one.high_cut,
            "diffusion": one.diffusion,
            "decay": one.decay,
            "freqDamp": one.freq_damp,
        }
    return row | numbers


def write_csvs(folder, subset, rows, told=False):
    """Writes both CSV files of a subset.

    Arguments
    ---------
    folder : Path
        The corpus.
    subset : str
    rows : iterable of dict
        The rows' cells, in order.
    told : bool
        Whether the gender or language of some speakers is known: adds columns.
    """
    listed = (*PROVENANCE, *PROVENANCE_TOLD) if told else PROVENANCE
    path = corpus_csv(folder, subset)
    with (
        csv_writer(provenance_csv(path), listed) as provenance,
        csv_writer(path, COLUMNS) as final,
    ):
        for row in rows:
            final.writerow([row[name] for name in COLUMNS])
            provenance.writerow([row[name] for name in listed])
