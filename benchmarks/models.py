"""Measures the models: size, training step, peak memory and inference.

    python benchmarks/models.py [dprnn ...] [--seconds 4] [--repeats 5]

Each is measured beside its reference in fp32: the same YAML with SpeechBrain's lobes,
or, for SPMamba, with the scan engine `torch`. Times come from one process per model,
peaks from a process per case: all memory of the process on a CPU (some 0.5 GB of it are
libraries), torch's tensors on a GPU. GB are 1e9 bytes. A step is train.py's: forward,
loss, backward, clipping, Adam, on a CPU with allocator.keep_freed_memory, which the
reference does without. The real-time factor is seconds per second of audio.
"""

import argparse
import functools
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from pydoc import locate

import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references

import recipe_path
from exported.export import TrainingConstructor
from exported.safe_yaml import New, read_description
from extra_models.masking import separate
from macs import count_macs
from measuring import (
    REFERENCE,
    RESULTS,
    Figure,
    alternate,
    compare,
    isolated,
    peak_memory,
    write_report,
)
from mixtures.variants import num_sources
from recipekit.training.allocator import keep_freed_memory
from scoring.si_sdr import pit_loss

MODELS = ("dprnn", "convtasnet", "sepformer", "spmamba")
VARIANTS = ("fp32", "bf16", "bf16 compiled", "bf16 checkpointed")
MEMORY_CASES = {1: VARIANTS, 4: ("bf16", "bf16 checkpointed")}  # by batch size
TOLERANCE = 1e-4  # of estimates, relative to their peak
GPU_BATCHES = (1, 2, 4, 8, 16, 32)
TARGETS = {
    "dprnn": {
        "parameters": "measured == 2609793",
        "step, bf16": "ratio <= 0.5",
        "step, bf16 compiled": "ratio <= 0.5",
    },
    "convtasnet": {
        "parameters": "measured == 8708672",
        "step, fp32": "ratio <= 0.6",
        "step, bf16 compiled": "ratio <= 0.3",
    },
    "sepformer": {
        "parameters": "measured == 25679361",
        "step, bf16": "ratio <= 0.28",
        "step, bf16 compiled": "ratio <= 0.28",
        "peak memory at batch 4, bf16 checkpointed": "measured <= 11",
    },
    "spmamba": {
        "parameters": "measured == 1156368",
        "step, bf16": "measured <= 7",
        "step, bf16 compiled": "measured <= 7",
        "peak memory at batch 4, bf16 checkpointed": "measured <= 11",
    },
}


@dataclass(frozen=True)
class Settings:
    """What the cases of a run share.

    Arguments
    ---------
    seconds : float
        Length of the mixtures.
    repeats : int
        Rounds of the alternation at most.
    device : str
        "cpu" or "cuda".
    overrides : dict
        Keys of the YAML.
    """

    seconds: float = 4.0
    repeats: int = 5
    device: str = "cpu"
    overrides: dict = field(default_factory=dict)


class Trial:
    """A model that can be trained and run.

    Arguments
    ---------
    model : str
        Name of a YAML.
    settings : Settings
    variant : str
        ``REFERENCE``, or "fp32" or "bf16" and then "compiled" or "checkpointed".
    """

    def __init__(self, model, settings, variant):
        self.settings, self.variant, words = settings, variant, variant.split()
        hparams = load(model, variant, settings.overrides)
        self.modules = torch.nn.ModuleDict(hparams["modules"]).to(settings.device)
        if "compiled" in words:
            for module in self.modules.values():
                module.compile()
        self.optimizer = hparams["opt_class"](self.modules.parameters())
        self.clip = hparams["grad_clip_norm"]
        self.sample_rate = hparams["sample_rate"]
        self.num_sources = num_sources(hparams["task"])
        self.autocast = functools.partial(
            torch.autocast, settings.device, torch.bfloat16, enabled="bf16" in words
        )

    def noise(self, *shape, seconds):
        """Returns the same noise [*shape, time] at every call."""
        frames = round(seconds * self.sample_rate)
        noise = torch.randn(*shape, frames, generator=torch.Generator().manual_seed(0))
        return 0.1 * noise.to(self.settings.device)

    def step(self, batch=1, seconds=None):
        """Does one training step."""
        seconds = seconds or self.settings.seconds
        mixtures = self.noise(batch, seconds=seconds)
        targets = self.noise(batch, self.num_sources, seconds=seconds)
        self.modules.train()
        if self.settings.device == "cpu":  # as train.py does, and others do not
            keep_freed_memory(self.variant != REFERENCE)
        with self.autocast():
            loss = pit_loss(separate(self.modules, mixtures), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def infer(self):
        """Returns the estimates [1, sources, time] of one mixture."""
        self.modules.eval()
        with torch.inference_mode(), self.autocast():
            return separate(self.modules, self.noise(1, seconds=self.settings.seconds))

    def parameters(self):
        """Returns the number of parameters."""
        return sum(parameter.numel() for parameter in self.modules.parameters())


def load(model, variant, overrides):
    """Returns a YAML's objects, with the modules of the variant.

    They are initialised alike: the YAML's seed does that.
    """
    text = (recipe_path.RECIPE / "separation" / "hparams" / f"{model}.yaml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        overrides = {"output_folder": folder, **overrides}
        if "checkpointed" in variant.split():
            overrides["activation_checkpointing"] = True
        if variant == REFERENCE and model.startswith("spmamba"):
            overrides["scan_engine"] = "torch"
        hparams = load_hyperpyyaml(text, overrides)
        modules = hparams["modules"]
        if variant == REFERENCE and "separator" not in modules:
            resolved = Path(folder) / "hyperparams.yaml"
            resolved.write_text(resolve_references(text, overrides).read())
            described = read_description(resolved, TrainingConstructor)["modules"]
            hparams["modules"] = {name: stock(described[name]) for name in modules}
            for name, module in hparams["modules"].items():
                module.load_state_dict(modules[name].state_dict())
    return hparams


def stock(described):
    """Builds what a description names: SpeechBrain's own class."""
    if not isinstance(described, New):
        return described
    arguments = {name: stock(value) for name, value in described.arguments.items()}
    return locate(described.name)(**arguments)


def measure(model, settings, variants):
    """Measures size and speed of a model's variants, all in this process.

    Returns
    -------
    dict
        "parameters": (ours, the reference's); "macs" of a forward pass; "step" and
        "inference": what ``alternate`` returns of the variants.
    """
    check(model, replace(settings, device="cpu"))  # where nothing computes in TF32
    trial = functools.cache(functools.partial(Trial, model, settings))

    def time(names, run, **options):
        runs = {name: functools.partial(run, name) for name in names}
        return alternate(runs, settings.repeats, settings.device, **options)

    names = (REFERENCE, *variants)
    eager = [name for name in names if name in (REFERENCE, "fp32", "bf16")]
    return {
        "parameters": (trial("fp32").parameters(), trial(REFERENCE).parameters()),
        "macs": count_macs(trial(REFERENCE).infer),
        "inference": time(eager, lambda name: trial(name).infer()),
        "step": time(names, lambda name: trial(name).step(), settle=True),
    }


def check(model, settings):
    """Raises ArithmeticError if a model's estimates differ from its reference's."""
    ours, theirs = (
        Trial(model, settings, name).infer() for name in ("fp32", REFERENCE)
    )
    error = (ours - theirs).abs().max() / theirs.abs().max()
    if not error < TOLERANCE:
        raise ArithmeticError(f"{model} differs from its reference by {error:.1e}")


def peak(model, settings, variant, batch):
    """Returns the peak memory in bytes of this process, which does a training step."""
    trial = Trial(model, settings, variant)
    # Adam makes its state in the first step; a compiled model takes one length only.
    first = settings.seconds if "compiled" in variant.split() else settings.seconds / 8
    trial.step(batch, first)
    trial.step(batch)
    return peak_memory(settings.device)


def throughput(model, settings, batch):
    """Returns variant -> training steps per second of a batch, and a note."""
    trial = functools.cache(functools.partial(Trial, model, settings))
    runs = {n: lambda n=n: trial(n).step(batch) for n in (REFERENCE, "bf16")}
    timings = alternate(runs, settings.repeats, settings.device).items()
    return {n: (seconds and 1 / seconds, note) for n, (seconds, note) in timings}


def figures(model, settings, variants=VARIANTS):
    """Runs all cases of a model and returns their Figures."""
    targets = TARGETS[model]
    if settings.device != "cpu":  # those of steps are times and ratios of two cores
        targets = {k: v for k, v in targets.items() if not k.startswith("step")}
    measured, failure = isolated(measure, model, settings, variants)
    if failure:
        return [
            Figure(what, None, target=target, note=failure)
            for what, target in targets.items()
        ]
    ours, theirs = measured["parameters"]
    rows = [
        Figure("parameters", ours, "", theirs, targets["parameters"]),
        Figure("forward", measured["macs"] / 1e9, "GMAC"),
    ]
    rows += compare("step", "s", measured["step"], targets)
    per_second = 1 / settings.seconds
    rows += compare(
        "inference", "s per s of audio", measured["inference"], targets, per_second
    )
    for batch, cases in MEMORY_CASES.items():
        peaks = {
            variant: isolated(peak, model, settings, variant, batch)
            for variant in (REFERENCE, *cases)
            if variant in (REFERENCE, *variants)
        }
        what = f"peak memory at batch {batch}"
        rows += compare(what, "GB", peaks, targets, 1e-9)
    for batch in GPU_BATCHES if settings.device == "cuda" else ():
        what = f"throughput at batch {batch}"
        rates, failure = isolated(throughput, model, settings, batch)
        if failure:
            rates = {name: (None, failure) for name in (REFERENCE, "bf16")}
        rows += compare(what, "steps/s", rates, targets)
    return rows


def main():
    """Measures the models that the command line names and writes a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="model", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=Settings.seconds)
    parser.add_argument("--repeats", type=int, default=Settings.repeats)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the tables")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = Settings(options.seconds, options.repeats, device)
    for model in options.models or MODELS:
        title = f"{model}, {options.seconds:g} s of audio, {device}"
        rows = figures(model, settings, options.variants)
        write_report(model, title, rows, options.folder)


if __name__ == "__main__":
    main()
