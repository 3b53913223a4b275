"""Separates mixtures with an exported model: batches, arrays and files."""

import hashlib
import os
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import safetensors.torch
import soundfile
import torch

from exported.joining import join_chunks
from exported.levels import Levels
from exported.safe_yaml import build, read_description
from exported.streaming import (
    BLOCK_SECONDS,
    CHUNK_SECONDS,
    OVERLAP,
    SeparationError,
    mono_blocks,
    name_of,
    open_audio,
    overlapping_chunks,
    resample,
)
from extra_models import masking

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
WAV_LIMIT = 2**32 - 2**16  # bytes; RF64, the same with 64-bit sizes, holds more


def read_export(folder):
    """Reads an export without running or unpickling anything in it.

    Arguments
    ---------
    folder : str or Path
        What ``export.export_model`` wrote.

    Returns
    -------
    description : dict
        Of hyperparams.yaml, with a layout of modules that is known.
    weights : dict
        Name -> torch.Tensor.
    fingerprint : str
        16 hexadecimal digits that tell exports apart.

    Raises
    ------
    SeparationError
        If the export is incomplete, inconsistent or asks for unknown classes.
    """
    folder = Path(folder)
    hparams_file, weights_file = folder / HPARAMS_FILE, folder / WEIGHTS_FILE
    if (folder / "export" / HPARAMS_FILE).is_file():
        raise SeparationError(
            f"{folder}: is the folder of a run; did you mean {folder / 'export'}?"
        )
    for file in (hparams_file, weights_file):
        if not file.is_file():
            raise SeparationError(
                f"{file}: is not there; expected an exported model, such as the folder "
                "export that train.py writes into a run's folder"
            )
    description = read_description(hparams_file)
    for key in ("sample_rate", "num_spks"):
        if type(description.get(key)) is not int or description[key] < 1:
            raise SeparationError(
                f"{hparams_file}: {key} is {description.get(key)!r}, expected a "
                "positive integer; export the model again"
            )
    specified = description.get("modules")
    layouts = [set(layout) for layout in masking.LAYOUTS]
    if not isinstance(specified, dict) or set(specified) not in layouts:
        expected = " or ".join(map(", ".join, masking.LAYOUTS))
        raise SeparationError(f"{hparams_file}: modules must be exactly {expected}")
    try:
        data = weights_file.read_bytes()
        weights = safetensors.torch.load(data)
        fingerprint = hashlib.sha256(hparams_file.read_bytes() + data).hexdigest()[:16]
    except (OSError, safetensors.SafetensorError) as error:
        raise SeparationError(
            f"{weights_file}: {error}; copy or export the model again"
        ) from error
    return description, weights, fingerprint


class Separator:
    """A trained model that separates mixtures, at one sample rate.

    Estimates get the levels they have in the mixture (see ``levels``), and in
    recordings longer than a chunk each speaker stays in one stream (see ``joining``).

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
    fingerprint : str
        Tells the model apart from others.
    """

    def __init__(self, modules, sample_rate, num_spks, device="cpu", fingerprint=None):
        self.modules = torch.nn.ModuleDict(modules).to(device).eval()
        self.sample_rate = sample_rate
        self.num_spks = num_spks
        self.device = device
        self.fingerprint = fingerprint

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
        description, weights, fingerprint = read_export(folder)
        rate, sources = description["sample_rate"], description["num_spks"]
        try:
            built, specified = {}, description["modules"]
            modules = {name: build(specified[name], built) for name in specified}
            separator = cls(modules, rate, sources, device, fingerprint)
            separator.modules.load_state_dict(weights)
            given = separator.estimate(torch.zeros(1, 1)).shape[2]
        except MODEL_ERRORS as error:
            raise SeparationError(
                f"{folder}: {HPARAMS_FILE} and {WEIGHTS_FILE} do not make a model; "
                f"export it again: {textwrap.shorten(str(error), 300)}"
            ) from error
        if given != sources:
            raise SeparationError(
                f"{Path(folder) / HPARAMS_FILE}: num_spks is {sources}, but the model "
                f"puts out {given}; export it again"
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
            Levels(self.num_spks).fit(*pair)[0]
            for pair in zip(gram.cpu().numpy(), cross.cpu().numpy(), strict=True)
        ]
        return estimates * torch.as_tensor(np.stack(gains)).to(estimates)[:, None]

    def separate(self, audio, rate, chunk_seconds=CHUNK_SECONDS, progress=None):
        """Separates an array of any length, rate and number of channels.

        Arguments
        ---------
        audio : numpy.ndarray or torch.Tensor
            [T] or [T, channels], floating point and finite; channels are averaged.
        rate : int
            Its rate in Hz.
        chunk_seconds : float
            Length of what the model sees at once; neighbours share a quarter.
        progress : callable
            Called with (seconds done, seconds in all).

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Sources [T, S] at the same rate, float32, of the kind that was given.

        Raises
        ------
        ValueError
            If the audio is not as described.
        """
        samples = np.asarray(audio.detach().cpu() if torch.is_tensor(audio) else audio)
        if not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"audio: its type is {samples.dtype}, expected floating point within "
                "-1..1; divide 16-bit integers by 32768"
            )
        channels = samples.shape[1] if samples.ndim == 2 else 1
        if samples.ndim not in (1, 2) or not 0 < channels <= len(samples):
            raise ValueError(
                f"audio: its shape is {samples.shape}, expected [time] or "
                "[time, channels] with at least one sample; transpose [channels, time]"
            )
        if int(rate) != rate or rate < 1:
            raise ValueError(f"rate: {rate!r}, expected a positive integer in Hz")
        if not np.isfinite(samples).all():
            raise ValueError("audio: expected finite samples")
        mono = samples.reshape(len(samples), channels).mean(axis=1, dtype=np.float32)
        pieces = self._stream([mono], len(mono), int(rate), chunk_seconds, progress)
        joined = np.concatenate(list(pieces))
        sources = [
            np.concatenate(list(resample([source], self.sample_rate, int(rate))))
            for source in joined.T
        ]
        result = np.stack(sources, axis=1)[: len(mono)].astype(np.float32)
        return torch.from_numpy(result) if torch.is_tensor(audio) else result

    def output_paths(self, source, out_folder=None):
        """Returns where ``separate_file`` puts the sources of a file."""
        path = Path(name_of(source))
        folder = path.parent if out_folder is None else Path(out_folder)
        return [
            folder / f"{path.stem}_source{number}.wav"
            for number in range(1, self.num_spks + 1)
        ]

    def separate_file(
        self,
        source,
        out_folder=None,
        output_rate="file",
        overwrite=False,
        chunk_seconds=CHUNK_SECONDS,
        progress=None,
    ):
        """Separates an audio file of any length, rate and number of channels.

        Memory does not grow with the file: chunks are separated one by one, scaled and
        joined into a temporary file beside the outputs, which a second pass resamples
        into the outputs. These are 16-bit WAV, or 32-bit float where a source exceeds
        full scale.

        Arguments
        ---------
        source : str, Path or binary file object
            Anything soundfile reads; several channels are averaged. An open file must
            be seekable and have a ``name``, which the outputs are named after.
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
        source = source if hasattr(source, "read") else Path(source)
        if not isinstance(getattr(source, "name", None), (str, bytes)):
            raise ValueError(
                "source: the open file has no name for the outputs; set its attribute "
                "name, or read it and use Separator.separate"
            )
        name, outputs = name_of(source), self.output_paths(source, out_folder)
        if output_rate not in ("file", "model") and not int(output_rate) > 0:
            raise ValueError(f"output_rate: {output_rate!r} is not file, model or Hz")
        existing = [str(output) for output in outputs if output.exists()]
        if existing and not overwrite:
            raise SeparationError(
                f"{name}: {', '.join(existing)} exists already; allow overwriting or "
                "choose another folder"
            )
        folder = outputs[0].parent
        with open_audio(source) as file:
            rates = {"file": file.samplerate, "model": self.sample_rate}
            rate = rates.get(output_rate) or int(output_rate)
            blocks = mono_blocks(file, name)
            pieces = self._stream(
                blocks, file.frames, file.samplerate, chunk_seconds, progress
            )
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder) as joined:
                    for piece in pieces:
                        joined.write(piece.astype(np.float32).tobytes())
                    frames = round(file.frames * rate / file.samplerate)
                    self._write(joined, outputs, rate, frames)
            except OSError as error:
                raise SeparationError(
                    f"{name}: cannot write to {folder} ({error.strerror or error}); "
                    "make room or choose another folder"
                ) from error
            except (RuntimeError, ArithmeticError, MemoryError) as error:
                raise SeparationError(f"{name}: {error}") from error
        return outputs

    def _stream(self, blocks, frames, rate, chunk_seconds, progress):
        """Yields pieces [T, S] of the separated sources at the model's rate.

        Arguments
        ---------
        blocks : iterable of arrays
            Consecutive pieces [T] of one signal.
        frames, rate : int
            Its length in samples, and its rate in Hz.
        chunk_seconds, progress
            Of ``separate_file``.
        """
        length = round(chunk_seconds * self.sample_rate)
        overlap = round(OVERLAP * length)
        if overlap < 1:
            raise ValueError(f"chunk_seconds: {chunk_seconds} is too short")
        pairs = (
            (chunk, self.estimate(torch.from_numpy(chunk)[None])[0].cpu().numpy())
            for chunk in overlapping_chunks(
                resample(blocks, rate, self.sample_rate), length, overlap
            )
        )
        done = 0
        for piece in join_chunks(pairs, overlap, self.sample_rate):
            done += len(piece)
            yield piece
            if progress:
                progress(min(done / self.sample_rate, frames / rate), frames / rate)

    def _write(self, joined, outputs, rate, frames):
        """Writes each source under a temporary name, renames when all are whole."""
        partial = [output.with_name(f".{output.name}.partial") for output in outputs]
        try:
            for source, file in enumerate(partial):
                for subtype in ("PCM_16", "FLOAT"):
                    blocks = (block[:, source] for block in self._read_blocks(joined))
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
    """Writes the first ``frames`` samples of blocks, returns their peak.

    Raises
    ------
    OSError
        If there is no room, which libsndfile does not say.
    """
    peak = 0.0
    container = "WAV" if frames * 4 < WAV_LIMIT else "RF64"
    try:
        with soundfile.SoundFile(
            os.fsencode(file), "w", rate, 1, subtype, format=container
        ) as wav:
            for block in blocks:
                block = block[: frames - wav.frames]
                peak = max(peak, np.abs(block).max(initial=0))
                wav.write(block)
    except (soundfile.LibsndfileError, AssertionError) as error:
        raise OSError(f"{file.name} could not be written whole: {error}") from error
    if file.stat().st_size < frames * (2 if subtype == "PCM_16" else 4):
        raise OSError(f"{file.name} could not be written whole")
    return peak
