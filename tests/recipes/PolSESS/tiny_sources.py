"""Writes tiny source recordings with a manifest, for the folder provider and mixing."""

import csv

import numpy as np
import soundfile

RATE = 16000


def write_folder(folder, speakers=9, recordings=4, level=0.05):
    """Writes speech, scenes and events with a manifest.

    Arguments
    ---------
    folder : Path
    speakers : int
        Each speaks five clips: one of a second and four of 0.2 s.
    recordings : int
        Original recordings of each scene and event class, each in two files.
    level : float
        RMS of the speech, about; scenes and events are half as loud.

    Returns
    -------
    Path
        The folder.
    """
    rows = []

    def add(path, seconds, loudness, pitch, **cells):
        time = np.arange(round(seconds * RATE)) / RATE
        noise = np.random.default_rng(len(rows)).standard_normal(len(time))
        samples = loudness * (np.sin(2 * np.pi * pitch * time) + 0.5 * noise)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, samples, RATE, "PCM_16")
        rows.append(
            {"path": path, "speaker": "", "class": "", "transcript": ""} | cells
        )

    for speaker in range(speakers):
        for clip in range(5):
            add(
                f"speech/s{speaker}_{clip}.wav",
                1.0 if clip == 0 else 0.2,
                level,
                120 + 11 * speaker,
                role="speech",
                speaker=f"s{speaker}",
                transcript=f"zdanie {clip} mówcy {speaker}",
            )
    sounds = [("scene", name) for name in ("tram", "park", "office")]
    sounds += [("event", name) for name in ("Bark", "Knock", "siren")]
    for number, (role, name) in enumerate(sounds):
        for recording in range(recordings):
            for part in range(2):
                add(
                    f"{role}/{name}{recording}-{part}.wav",
                    1.5,
                    level / 2,
                    300 + 200 * number,
                    role=role,
                    **{"class": name},
                )
    with open(folder / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder
