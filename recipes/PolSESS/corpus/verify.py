"""Opens every file of a corpus and finds the audio that is not what it should be."""

import functools
import hashlib

import numpy as np
import pandas as pd
import soundfile as sf

from corpus.layout import MIX, SPEAKERS, STORED
from corpus.render import FULL_SCALE, LIMIT
from recipekit.console import progress_bar
from recipekit.files.workers import worker_pool

PEAK = LIMIT * FULL_SCALE  # of PolSESS' hard limiter, in 16-bit samples
CLEAN = [layer.name for layer in SPEAKERS]
MAX_EXAMPLES = 20


def verify(data_folder, rows, sample_rate, workers=None):
    """Checks rate, channels, length, finiteness, sums and copies of clean files.

    Arguments
    ---------
    data_folder : Path
        The corpus.
    rows : pd.DataFrame
        A column for each layer and the mix with paths relative to data_folder (empty:
        the row has no such layer), frames (expected samples), segment1 and segment2.
    sample_rate : int
        Expected rate in Hz.
    workers : int
        Processes; as many as there are cores if None.

    Returns
    -------
    dict
        Kind of finding: count and up to MAX_EXAMPLES examples (file, found). All kinds
        are defects but repeated_clean_files, whose rows say that they use one segment:
        sound if the partners differ, and a duplicated row of the audit otherwise.
    """
    check = functools.partial(_check_row, data_folder, sample_rate)
    files = rows[[layer.name for layer in STORED]].to_dict("records")
    with worker_pool(workers) as pool:
        checked = pool.map(check, files, rows["frames"].tolist(), chunksize=16)
        results = list(progress_bar(checked, "verify_audio", len(rows), unit="rec"))
    findings = [finding for found, _ in results for finding in found]
    clean = [
        {"file": row[layer.name], "segment": segment, "digest": digests[layer.name]}
        for row, (_, digests), *segments in zip(
            files, results, rows["segment1"], rows["segment2"], strict=True
        )
        for layer, segment in zip(SPEAKERS, segments, strict=True)
        if layer.name in digests
    ]
    findings += _find_copies(clean)
    kinds = dict.fromkeys(kind for kind, _, _ in findings)
    report = {}
    for kind in kinds:
        found = [{"file": f, "found": text} for k, f, text in findings if k == kind]
        report[kind] = {"count": len(found), "examples": found[:MAX_EXAMPLES]}
    return report


def _check_row(data_folder, sample_rate, files, frames):
    """Returns a row's findings (kind, file, text) and digests of its clean layers."""
    findings, samples, digests = [], {}, {}
    for layer, file in files.items():
        if not file:
            continue
        try:
            audio, rate = sf.read(data_folder / file, always_2d=True)
        except (sf.LibsndfileError, OSError) as err:
            findings.append(("unreadable", file, str(err)))
            continue
        if rate != sample_rate:
            findings.append(("sample_rate", file, f"{rate} Hz, not {sample_rate}"))
        if audio.shape[1] != 1:
            findings.append(("channels", file, f"{audio.shape[1]} channels, not 1"))
        if len(audio) != frames:
            findings.append(("length", file, f"{len(audio)} samples, not {frames}"))
        if not np.isfinite(audio).all():
            findings.append(("non_finite", file, "samples that are NaN or infinite"))
        if layer in CLEAN:
            digests[layer] = hashlib.sha256(audio.tobytes()).hexdigest()
        samples[layer] = audio[:, 0] * FULL_SCALE
    if not findings:
        error = _sum_error(samples)
        tolerance = len(samples) / 2  # each layer and the mix: rounded by <= 1/2 LSB
        if error > tolerance:
            text = f"the layers miss it by {error:.1f} LSB, allowed {tolerance:.1f}"
            findings.append(("sum", files[MIX.name], text))
    return findings, digests


def _sum_error(samples):
    """Returns the largest distance in LSB of a mix from the sum of its layers.

    The published generator limits the summed speech, and newer ones may limit the mix,
    but layers are stored without. So at each sample the sum counts both limited and
    not; the choice matters only where the limiter was at work.

    Arguments
    ---------
    samples : dict
        Of the mix and its layers by name, in units of a 16-bit LSB, shape (time,).
    """
    mix = samples[MIX.name]
    speech = sum(samples[name] for name in CLEAN)
    background = sum(
        layer for name, layer in samples.items() if name not in (MIX.name, *CLEAN)
    )
    sums = np.stack([speech, np.clip(speech, -PEAK, PEAK)]) + background
    sums = np.concatenate([sums, np.clip(sums, -PEAK, PEAK)])
    return float(np.abs(sums - mix).min(axis=0).max())


def _find_copies(clean):
    """Returns a finding for each set of clean files with the same samples."""
    clean = pd.DataFrame(clean, columns=["file", "segment", "digest"])
    clean = clean.drop_duplicates("file")
    findings = []
    copies = clean[clean.duplicated("digest", keep=False)]
    for _, same in copies.groupby("digest", sort=False):
        one_segment = same["segment"].nunique() == 1
        kind = "repeated_clean_files" if one_segment else "identical_clean_files"
        file, *others = same["file"]
        listed = ", ".join(others[:MAX_EXAMPLES])
        findings.append((kind, file, f"same samples as {listed}"))
    return findings
