"""Makes the embedded sources: a corpus for trying the recipe out, not for results.

Polish sentences read by a speech synthesiser (embedded_speech), scenes and events made
of noise and tones (embedded_sounds): nothing is recorded, nothing is downloaded. The
whole recipe runs on it within minutes, but scores on it say nothing about people.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import soundfile

from corpus.audio import write_audio
from corpus.providers.embedded_sounds import SOUNDS, make_sound
from corpus.providers.embedded_speech import SAMPLE_RATE, sentences, speakers, utterance
from corpus.sources import SUBSETS, Source
from recipekit.console import progress_bar
from recipekit.files import keyed
from recipekit.files.workers import worker_pool

# Recordings of each scene and event class in train, val and test.
RECORDINGS = {"scene": (4, 2, 2), "event": (6, 3, 3)}
LICENCE = "made by this recipe"
SPEECH_LEVEL = (-26.0, -22.0)  # dB re full scale, RMS


def make_sources(
    folder,
    seed=0,
    num_speakers=(24, 8, 8),
    utterances_per_speaker=6,
    workers=None,
):
    """Makes the embedded sources, or the files of them that are missing.

        speech/<subset>/<speaker>/<seed>_<number>.wav
        scene/<subset>/<class>/<seed>_<number>.wav          a / in a class becomes _
        event/<subset>/<class>/<seed>_<number>.wav

    Arguments
    ---------
    folder : str or Path
        Where to put them.
    seed : int
        Same seed, same bytes, whatever is made in which order by which process.
    num_speakers : tuple of int
        Speakers in train, val and test.
    utterances_per_speaker : int
        One sentence each, all different up to the number of sentences.
    workers : int, optional
        Processes; default: as many as there are cores.

    Returns
    -------
    list of Source
        Paths relative to the folder; 16-bit wav, one channel, 16 kHz.

    Raises
    ------
    ValueError
        If there are not enough voices for num_speakers.
    OSError
        If espeak-ng cannot be loaded or a file cannot be written.
    """
    jobs = _speech(seed, num_speakers, utterances_per_speaker)
    for role in RECORDINGS:
        jobs += _sounds(role, seed)
    make = partial(_make, Path(folder))
    with worker_pool(workers) as pool:
        sources = pool.map(make, jobs, chunksize=8)
        bar = progress_bar(sources, "embedded sources", len(jobs), unit="file")
        return list(bar)


def _speech(seed, num_speakers, utterances_per_speaker):
    """Returns pairs of Source, its frames not yet known, and how to make samples."""
    jobs = []
    for subset, count in zip(SUBSETS, num_speakers, strict=True):
        for speaker in speakers(subset, count, seed):
            texts = keyed.shuffled(sentences(), seed, "embedded", speaker.name)
            for number in range(utterances_per_speaker):
                key = (seed, "embedded", speaker.name, number, "level")
                text = texts[number % len(texts)]
                source = Source(
                    path=f"speech/{subset}/{speaker.name}/{seed}_{number:03}.wav",
                    role="speech",
                    subset=subset,
                    class_="",
                    speaker=speaker.name,
                    source="embedded",
                    licence=LICENCE,
                    rate=SAMPLE_RATE,
                    frames=0,
                    transcript=text,
                )
                level = keyed.uniform(*SPEECH_LEVEL, *key)
                jobs.append((source, partial(utterance, speaker, text, level)))
    return jobs


def _sounds(role, seed):
    """Returns pairs like _speech for the scenes or the events."""
    jobs = []
    for subset, count in zip(SUBSETS, RECORDINGS[role], strict=True):
        for class_name in SOUNDS[role]:
            directory = class_name.replace("/", "_")
            for number in range(count):
                key = (seed, "embedded", subset, class_name, number)
                source = Source(
                    path=f"{role}/{subset}/{directory}/{seed}_{number:03}.wav",
                    role=role,
                    subset=subset,
                    class_=class_name,
                    speaker="",
                    source="embedded",
                    licence=LICENCE,
                    rate=SAMPLE_RATE,
                    frames=0,
                )
                jobs.append((source, partial(make_sound, role, class_name, *key)))
    return jobs


def _make(folder, job):
    """Makes a job's file unless it is there; returns its Source with the frames."""
    source, make_samples = job
    path = folder / source.path
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, make_samples(), SAMPLE_RATE)
    return replace(source, frames=soundfile.info(path).frames)
