"""Separates mixtures with an exported model: batches of tensors and files."""

import os
import tempfile
from pathlib import Path

import numpy as np
import safetensors.torch
import scipy.optimize
import soundfile
import torch

import masking
from description import build, read_description
from streaming import (
    BLOCK_SECONDS,
    SeparationError,
    join_chunks,
    mono_blocks,
    open_audio,
    overlapping_chunks,
    resample,
)

HPARAMS_FILE = "hyperparams.yaml"
WEIGHTS_FILE = "model.safetensors"
MODEL_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
MIN_SECONDS = 1.0  # zeros fill shorter mixtures: convolutions reach far
CHUNK_SECONDS = 8.0  # twice the length trained on: fewer joints, little memory
OVERLAP = 0.25  # of a chunk
RIDGE = 1e-10  # of the estimates' energy: of equal estimates, each gets its share
WAV_LIMIT = 2**32 - 2**16  # bytes; RF64, the same with 64-bit sizes, holds more


def fit_gains(gram, cross):
    """Finds the gains with which the estimates sum best to the mixture.

    A source sounds in its mixture as it is, not inverted, so the gain's sign is that
    which makes an estimate correlate positively with the mixture. No estimate
    may then be subtracted to mend another.

    Arguments
    ---------
    gram : array
        Inner products of the estimates with each other, [S, S].
    cross : array
        Inner products of the estimates with the mixture, [S].

    Returns
    -------
    array
        Gains [S], the ridge-regularised least-squares solution of these signs; zeros
        for silent estimates or a silent mixture.
    """
    ridge = RIDGE * np.trace(gram)
    if not ridge:
        return np.zeros(len(cross))
    signs = np.where(cross < 0, -1.0, 1.0)
    gram = gram * np.outer(signs, signs) + ridge * np.eye(len(cross))
    factor = np.linalg.cholesky(gram)
    target = np.linalg.solve(factor, signs * cross)
    return signs * scipy.optimize.nnls(factor.T, target)[0]


class Separator:
    """A trained model that separates mixtures, at one sample rate.

    SI-SDR leaves the scale of an estimate free, its polarity included. Estimates are
    therefore scaled so that they sum to the mixture as well as they can, never to
    their own peak.

    Arguments
    ---------
    modules : dict
        Those of ``masking.separate``.
    sample_rate : int
        Rate in Hz of what the model takes and gives.
    num_spks : int
        Number of sources the model puts out.
    device : str
        Where it runs.
    """

    def __init__(self, modules, sample_rate, num_spks, device="cpu"):
        self.modules = torch.nn.ModuleDict(modules).to(device).eval()
        self.sample_rate = sample_rate
        self.num_spks = num_spks
        self.device = device

    @classmethod
    def from_export(cls, folder, device="cpu"):
        """Loads an export without running or unpickling anything in it.

        Arguments
        ---------
        folder : str or Path
            What ``export.export_model`` wrote.
        device : str
            Where the model shall run.

        Raises
        ------
        SeparationError
            If the export is incomplete, inconsistent or asks for unknown classes.
        """
        hparams_file = Path(folder) / HPARAMS_FILE
        weights_file = Path(folder) / WEIGHTS_FILE
        hparams = read_description(hparams_file)
        for key in ("sample_rate", "num_spks"):
            if type(hparams.get(key)) is not int or hparams[key] < 1:
                raise SeparationError(
                    f"{hparams_file}: {key} is {hparams.get(key)!r}, expected a "
                    "positive integer; export the model again"
                )
        specified = hparams.get("modules")
        layouts = [set(layout) for layout in masking.LAYOUTS]
        if not isinstance(specified, dict) or set(specified) not in layouts:
            expected = " or ".join(map(", ".join, masking.LAYOUTS))
            raise SeparationError(f"{hparams_file}: modules must be exactly {expected}")
        try:
            weights = safetensors.torch.load(weights_file.read_bytes())
        except (OSError, safetensors.SafetensorError) as error:
            raise SeparationError(f"{weights_file}: {error}") from error
        try:
            built = {}
            modules = {name: build(specified[name], built) for name in specified}
            separator = cls(
                modules, hparams["sample_rate"], hparams["num_spks"], device
            )
            separator.modules.load_state_dict(weights)
            sources = separator.estimate(torch.zeros(1, 1)).shape[2]
        except MODEL_ERRORS as error:
            reason = " ".join(str(error).split())
            raise SeparationError(
                f"{folder}: {HPARAMS_FILE} and {WEIGHTS_FILE} do not make a model: "
                f"{reason}"
            ) from error
        if sources != separator.num_spks:
            raise SeparationError(
                f"{hparams_file}: num_spks is {separator.num_spks}, but the model "
                f"puts out {sources}"
            )
        return separator

    @torch.inference_mode()
    def estimate(self, mixtures):
        """Runs the model: [B, T] -> [B, T, S] of free scale, any T >= 1.

        Raises
        ------
        FloatingPointError
            If the model puts out NaN or infinite values.
        """
        length = mixtures.shape[1]
        padded = max(length, round(MIN_SECONDS * self.sample_rate))
        if "encoder" in self.modules:  # whole frames
            conv = self.modules["encoder"].conv1d
            padded += (conv.kernel_size[0] - padded) % conv.stride[0]
        padding = padded - length
        mixtures = torch.nn.functional.pad(mixtures.to(self.device), (0, padding))
        estimates = masking.separate(self.modules, mixtures).mT[:, :length]
        if not estimates.isfinite().all():
            raise FloatingPointError(
                "the model puts out NaN or infinite values; its weights or the level "
                "of the mixture are out of range"
            )
        return estimates

    def separate_batch(self, mixtures):
        """Separates a batch of mixtures at the model's rate.

        Arguments
        ---------
        mixtures : torch.Tensor
            [B, T], finite.

        Returns
        -------
        torch.Tensor
            Estimates [B, T, S], scaled to the mixtures; silence gives silence.

        Raises
        ------
        ValueError
            If a mixture is not finite.
        """
        if not mixtures.isfinite().all():
            raise ValueError("mixtures: expected finite samples")
        estimates = self.estimate(mixtures)
        signals = estimates.double()
        gram = signals.mT @ signals
        cross = (signals.mT @ mixtures.to(signals)[..., None])[..., 0]
        gains = [
            fit_gains(*pair)
            for pair in zip(gram.cpu().numpy(), cross.cpu().numpy(), strict=True)
        ]
        return estimates * torch.as_tensor(np.stack(gains)).to(estimates)[:, None]

    def output_paths(self, path, out_folder=None):
        """Returns where ``separate_file`` puts the sources of a file."""
        path = Path(path)
        folder = path.parent if out_folder is None else Path(out_folder)
        return [
            folder / f"{path.stem}_source{number}.wav"
            for number in range(1, self.num_spks + 1)
        ]

    def separate_file(
        self,
        path,
        out_folder=None,
        output_rate="file",
        overwrite=False,
        chunk_seconds=CHUNK_SECONDS,
        progress=None,
    ):
        """Separates an audio file of any length, rate and number of channels.

        Memory does not grow with the file: chunks are separated one by one and joined
        into a temporary file beside the outputs, which a second pass scales, with one
        gain a source for the whole file, and resamples into the outputs. These are
        16-bit WAV, or 32-bit float where a source exceeds full scale.

        Arguments
        ---------
        path : str or Path
            Anything soundfile reads; several channels are mixed down.
        out_folder : str or Path
            Made if need be; None: where the file is.
        output_rate : "file", "model" or int
            Rate of the outputs: the file's, the model's, or in Hz.
        overwrite : bool
            Whether outputs of that name may be replaced.
        chunk_seconds : float
            Length of what the model sees at once; neighbours share a quarter.
        progress : callable
            Called with (seconds done, seconds in all).

        Returns
        -------
        list of Path
            ``<stem>_source1.wav`` and so on, exactly as long as the file.

        Raises
        ------
        SeparationError
            If the file is not whole, finite audio, an output exists or cannot be
            written. No output is left half-written.
        """
        path, outputs = Path(path), self.output_paths(path, out_folder)
        length = round(chunk_seconds * self.sample_rate)
        if round(OVERLAP * length) < 1:
            raise ValueError(f"chunk_seconds: {chunk_seconds} is too short")
        if output_rate not in ("file", "model") and not int(output_rate) > 0:
            raise ValueError(f"output_rate: {output_rate!r} is not file, model or Hz")
        existing = [str(output) for output in outputs if output.exists()]
        if existing and not overwrite:
            raise SeparationError(
                f"{path}: {', '.join(existing)} exists already; allow overwriting or "
                "choose another folder"
            )
        with open_audio(path) as file:
            rates = {"file": file.samplerate, "model": self.sample_rate}
            rate = rates.get(output_rate) or int(output_rate)
            try:
                outputs[0].parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=outputs[0].parent) as joined:
                    gains = self._join(file, length, joined, progress)
                    frames = round(file.frames * rate / file.samplerate)
                    self._write(joined, gains, outputs, rate, frames)
            except (OSError, RuntimeError, ArithmeticError, MemoryError) as error:
                raise SeparationError(f"{path}: {error}") from error
        return outputs

    def _join(self, file, length, joined, progress):
        """Writes joined estimates [T, S] as float32, returns the gains [S]."""
        overlap = round(OVERLAP * length)
        blocks = resample(mono_blocks(file), file.samplerate, self.sample_rate)
        pairs = (
            (chunk, self.estimate(torch.from_numpy(chunk)[None])[0].cpu().numpy())
            for chunk in overlapping_chunks(blocks, length, overlap)
        )
        gram = np.zeros((self.num_spks, self.num_spks))
        cross = np.zeros(self.num_spks)
        done = 0
        for mixture, estimates in join_chunks(pairs, overlap):
            joined.write(estimates.astype(np.float32).tobytes())
            signals = estimates.astype(np.float64)
            gram += signals.T @ signals
            cross += signals.T @ mixture
            done += len(mixture)
            if progress:
                seconds = file.frames / file.samplerate
                progress(min(done / self.sample_rate, seconds), seconds)
        return fit_gains(gram, cross)

    def _write(self, joined, gains, outputs, rate, frames):
        """Writes each source under a temporary name, renames when all are whole."""
        partial = [output.with_name(f".{output.name}.partial") for output in outputs]
        try:
            for source, (gain, file) in enumerate(zip(gains, partial, strict=True)):
                for subtype in ("PCM_16", "FLOAT"):
                    blocks = (
                        np.float32(gain) * block[:, source]
                        for block in self._read_blocks(joined)
                    )
                    stream = resample(blocks, self.sample_rate, rate)
                    if _write_wav(file, stream, rate, frames, subtype) <= 1:
                        break
            for file, output in zip(partial, outputs, strict=True):
                os.replace(file, output)
        finally:
            for file in partial:
                file.unlink(missing_ok=True)

    def _read_blocks(self, joined):
        """Yields blocks [T, S] of joined estimates from the start."""
        joined.seek(0)
        size = BLOCK_SECONDS * self.sample_rate * self.num_spks * 4
        while block := joined.read(size):
            yield np.frombuffer(block, np.float32).reshape(-1, self.num_spks)


def _write_wav(file, blocks, rate, frames, subtype):
    """Writes the first ``frames`` samples of blocks, returns their peak."""
    peak = 0.0
    container = "WAV" if frames * 4 < WAV_LIMIT else "RF64"
    with soundfile.SoundFile(file, "w", rate, 1, subtype, format=container) as wav:
        for block in blocks:
            block = block[: frames - wav.frames]
            peak = max(peak, np.abs(block).max(initial=0))
            wav.write(block)
    return peak
