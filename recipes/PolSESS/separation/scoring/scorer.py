"""Test-time scores of separated mixtures, computed by worker processes."""

import os
import warnings
from collections import deque
from contextlib import contextmanager

import numpy as np
import torch
from pystoi import stoi
from threadpoolctl import threadpool_limits
from torchmetrics.functional.audio import signal_distortion_ratio

from recipekit.files.workers import worker_pool
from scoring.si_sdr import improvable_si_sdr, permute_to_best, sounding

try:
    from pesq import PesqError, pesq
except ImportError:  # optional: needs a C compiler to install
    pesq = None

PESQ_MODES = {8000: "nb", 16000: "wb"}  # ITU-T P.862 and P.862.2
AHEAD = 4  # batches that may wait for each worker: bounds memory

# Keeps the filter of BSS-eval solvable for targets with empty bands. On real speech
# at 8 and 16 kHz, scores of -20..60 dB moved by at most 0.0002 dB (0.01 dB at 1e-10).
SDR_LOAD = 1e-12


@contextmanager
def one_thread():
    """Keeps torch and NumPy's BLAS to one thread, also as a decorator.

    Workers are as many as there are cores; and with several threads MKL's solver of
    many systems at once fails.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
@one_thread()
def score(mixtures, estimates, targets, sample_rate):
    """Returns the scores of a batch, whatever its size, one dict per item.

    The estimates are put into the order of the targets by SI-SDR first. Improvements
    (SI-SDRi, SDRi) are the estimate's score minus the mixture's against the same
    target. SDR is BSS-eval's, with a distortion filter of 512 taps. What is undefined
    is NaN: all scores of a silent target, improvements of a mixture that is the target
    itself (variant C of the enhancement tasks), STOI and PESQ of a silent estimate or
    of too little speech, PESQ without the package ``pesq`` or at rates other than 8 kHz
    (narrow band) and 16 kHz (wide band).

    Arguments
    ---------
    mixtures : torch.Tensor
        Inputs of the model, shape [B, T].
    estimates : torch.Tensor
        Estimated sources in any order and at any level, shape [B, S, T].
    targets : torch.Tensor
        True sources, shape [B, S, T].
    sample_rate : int
        Of all signals, in Hz.

    Returns
    -------
    list of dict
        B dicts with si_sdr, si_sdri, sdri (dB), stoi (0..1) and pesq (MOS), each the
        mean over the sources; for S > 1 also those of each source: si_sdr_1, ...
    """
    estimates, targets = estimates.float(), targets.float()
    estimates, best = permute_to_best(estimates, targets)
    mixtures = mixtures.float()[:, None].expand_as(targets)

    undefined = torch.where(sounding(targets), 0.0, torch.nan)
    columns = {
        "si_sdr": best + undefined,
        "si_sdri": best - improvable_si_sdr(mixtures, targets) + undefined,
        "sdri": _sdr(estimates, targets) - _sdr(mixtures, targets) + undefined,
    }
    columns["sdri"] += 0 * columns["si_sdri"]  # undefined alike
    columns = {name: values.cpu().numpy() for name, values in columns.items()}

    pairs = [
        signals.cpu().numpy().reshape(-1, targets.shape[-1])
        for signals in (targets, estimates)
    ]
    perceptual = [
        _stoi_and_pesq(*pair, sample_rate) for pair in zip(*pairs, strict=True)
    ]
    perceptual = np.reshape(perceptual, (*best.shape, 2))
    columns |= {"stoi": perceptual[..., 0], "pesq": perceptual[..., 1]}

    return [
        _item({name: values[item] for name, values in columns.items()})
        for item in range(len(best))
    ]


def _item(scores):
    """Returns means over the sources and, where there are several, the sources'."""
    row = {name: float(values.mean()) for name, values in scores.items()}
    if len(scores["si_sdr"]) > 1:
        for name, values in scores.items():
            row |= {f"{name}_{i}": float(v) for i, v in enumerate(values, start=1)}
    return row


def _sdr(estimates, targets):
    """Returns BSS-eval's SDR in dB within -100..100, shape [B, S]."""
    ratios = signal_distortion_ratio(
        estimates.double(), targets.double(), load_diag=SDR_LOAD
    )
    return ratios.clamp(-100, 100)


def _stoi_and_pesq(target, estimate, sample_rate):
    """Returns STOI and PESQ of one source, NaN where they are undefined."""
    if not (target.any() and estimate.any() and np.isfinite(estimate).all()):
        return np.nan, np.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            intelligibility = float(stoi(target, estimate, sample_rate))
        except RuntimeWarning:
            intelligibility = np.nan
    quality = np.nan
    if pesq and sample_rate in PESQ_MODES:
        try:
            quality = pesq(sample_rate, target, estimate, PESQ_MODES[sample_rate])
        except PesqError:  # too short, or no utterance found
            pass
    return intelligibility, quality


class Scorer:
    """Scores batches while the model separates the next ones.

    A row's scores take 0.1 to 0.3 s of a core, far more than a GPU needs to separate
    it. Processes are forked, as those of a DataLoader are.

    Arguments
    ---------
    sample_rate : int
        Of all signals, in Hz.
    workers : int
        Processes; 0: scored in this one.
    """

    def __init__(self, sample_rate, workers):
        self.sample_rate = sample_rate
        self.limit = AHEAD * workers
        self.waiting, self.scores = deque(), []
        self.pool = worker_pool(workers) if workers else None

    def add(self, mixtures, estimates, targets):
        """Takes a batch (tensors as for ``score``); waits while too many wait."""
        arrays = [signals.cpu().numpy() for signals in (mixtures, estimates, targets)]
        if not self.pool:
            self.scores += _score_arrays(*arrays, self.sample_rate)
            return
        self.waiting.append(self.pool.submit(_score_arrays, *arrays, self.sample_rate))
        while len(self.waiting) > self.limit or self.waiting and self.waiting[0].done():
            self.scores += self.waiting.popleft().result()

    def finish(self):
        """Returns the scores of all rows, in the order in which they were added."""
        while self.waiting:
            self.scores += self.waiting.popleft().result()
        if self.pool:
            self.pool.shutdown()
        return self.scores


def _score_arrays(mixtures, estimates, targets, sample_rate):
    tensors = map(torch.from_numpy, (mixtures, estimates, targets))
    return score(*tensors, sample_rate)


def cores_for_scoring(wanted, processes):
    """Returns the workers of one of several processes that share this machine.

    Arguments
    ---------
    wanted : int or None
        In all; None: as many as there are cores.
    processes : int
        That share them, as under torchrun.
    """
    in_all = os.cpu_count() if wanted is None else wanted
    return -(-in_all // processes)
