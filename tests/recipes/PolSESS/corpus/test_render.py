"""Rendering: what must hold for whatever seed, rate, rules and sources there are."""

import functools

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.plan import MixingRules, Planner, Segment
from corpus.render import (
    LIMIT,
    SILENCE,
    Redraw,
    Renderer,
    read_segment,
    resample,
    rms,
)
from corpus.sources import Source, read_header
from corpus.tables import scene_classes

SECONDS = 0.25
# Rate, channels, format and subtype, as source collections have them, and odd ones.
FORMATS = (
    (16000, 1, "wav", "PCM_16"),
    (48000, 2, "wav", "PCM_24"),
    (44100, 1, "flac", "PCM_16"),
    (22050, 2, "ogg", "VORBIS"),
    (8000, 1, "wav", "FLOAT"),
    (96000, 2, "wav", "PCM_32"),
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Sources of all formats: quiet, loud, and silent in part."""
    folder = tmp_path_factory.mktemp("sources")
    sources = []

    def add(role, name, class_, speaker, level, seconds):
        rate, channels, kind, subtype = FORMATS[len(sources) % len(FORMATS)]
        noise = np.random.default_rng(len(sources))
        samples = level * noise.standard_normal((round(seconds * rate), channels))
        samples[: len(samples) // 3] = 0  # so that some segments are silent
        path = folder / f"{name}.{kind}"
        soundfile.write(path, np.clip(samples, -1, 1), rate, subtype)
        header = read_header(path)
        sources.append(
            Source(str(path), role, "train", class_, speaker, "tiny", *header)
        )

    for speaker in range(5):
        for clip, seconds in enumerate((0.8, 0.2, 0.2, 0.9)):
            level = 0.02 * 2**speaker  # 0.02 .. 0.32
            add("speech", f"s{speaker}_{clip}", "", f"s{speaker}", level, seconds)
    for number, scene in enumerate(("tram", "park", "office", "beach")):
        for take in range(2):
            name = f"{scene}{take}"
            add("scene", name, scene, "", 10.0 ** -(number + 1), 0.7 + take)
    for event in ("Bark", "Wind", "Bell", "siren", "Clock"):
        for take in range(2):
            add("event", f"{event}{take}", event, "", 0.15 * (1 + take), 0.8)
    return sources


levels = st.tuples(st.integers(-12, 0), st.integers(0, 12))
rules = st.builds(
    MixingRules,
    ssr_range=levels,
    scene_offset_range=st.tuples(st.floats(-30, -5), st.floats(-5, 3)),
    gain_range=st.tuples(st.floats(-12, -1), st.floats(-1, 3)),
    speeds=st.sampled_from([(100,), (95, 100, 105), (80, 121)]),
)

banks = st.sampled_from([None, 1, 16])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from([8000, 16000]), rules, banks)
def test_any_row_obeys_the_rules(sources, seed, rate, rules, bank):
    planner = Planner(sources, "train", SECONDS, seed, rules, bank)
    renderer = Renderer(
        functools.partial(read_segment, folder="", sample_rate=rate), rate
    )
    for row in range(2):
        made = renderer.render_row(planner, row)
        layers = {name: layer.astype(float) for name, layer in made.layers.items()}
        peak = LIMIT * 32768
        for name, layer in made.layers.items():
            assert layer.dtype == np.int16 and len(layer) == rate * SECONDS, name
            assert np.abs(layer.astype(int)).max() <= peak, name
        mix = layers.pop("mix")
        assert np.array_equal(mix, sum(layers.values()))
        assert np.isfinite(made.snr) and np.isfinite(made.scene_gain)
        one, two = layers["s1"], layers["s2"]
        assert min(rms(one), rms(two)) > 0 and rms(layers["event"]) > 20
        assert 20 * np.log10(rms(one) / rms(two)) == pytest.approx(
            made.plan.ssr, abs=0.05 + 30 / min(rms(one), rms(two))
        )
        low, high = rules.ssr_range
        assert low <= made.plan.ssr <= high
        speakers = {clip.speaker for s in made.plan.speech for clip in s.clips}
        assert len(speakers) == 2
        indoor = scene_classes()[made.plan.scene_class].indoor
        assert indoor == ("ev_reverb" in layers) == bool(made.plan.plates)


def constant(tmp_path, value, frames, rate=8000):
    """Returns a Source whose samples all have a value."""
    path = tmp_path / f"{value}_{frames}.wav"
    soundfile.write(path, np.full(frames, value), rate, "FLOAT")
    return Source(str(path), "speech", "train", "", "s", "tiny", rate, frames)


def test_clips_are_joined_in_order_and_channels_averaged(tmp_path):
    clips = (constant(tmp_path, 0.25, 100), constant(tmp_path, 0.5, 300))
    signal = read_segment(Segment(clips, 0, 250), "", 8000)
    assert np.array_equal(signal, [0.25] * 100 + [0.5] * 150)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.tile([0.5, -0.25], (80, 1)), 8000, "FLOAT")
    stereo = Source(str(path), "scene", "train", "park", "", "tiny", 8000, 80, 2)
    signal = read_segment(Segment((stereo,), 10, 60), "", 8000)
    assert np.array_equal(signal, [0.125] * 60)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("speed", [100, 90])
def test_tones_keep_level_and_phase_and_change_with_the_speed(tmp_path, rate, speed):
    frames = round(rate * speed / 100)
    time = np.arange(frames) / rate
    path = tmp_path / "tone.wav"
    tones = [0.4 * np.sin(2 * np.pi * hertz * time) for hertz in (1000, 5500)]
    soundfile.write(path, sum(tones), rate, "FLOAT")  # the second is above Nyquist
    tone = Source(str(path), "speech", "train", "", "s", "tiny", rate, frames)
    signal = read_segment(Segment((tone,), 0, frames, speed), "", 8000)
    expected = 0.4 * np.sin(2 * np.pi * 1000 * speed / 100 * np.arange(8000) / 8000)
    inner = slice(200, -200)
    assert len(signal) == 8000
    assert np.abs(signal - expected)[inner].max() < 1e-4


@pytest.mark.parametrize("seconds", [0.25, 0.5, 3.3333, 4.0])
def test_layers_have_one_length_whatever_the_rates(seconds):
    def read(segment):
        noise = np.random.default_rng(segment.start).standard_normal(segment.frames)
        rate = segment.rate * segment.speed
        return resample(0.1 * noise.astype(np.float32), rate, sample_rate * 100)

    rates = (8000, 11025, 11127, 16000, 22050, 44100, 48000)
    clips = [
        Source(f"{role} {rate}", role, "train", class_, str(rate), "", rate, 10 * rate)
        for rate in rates
        for role, class_ in (("speech", ""), ("scene", "tram"), ("event", "Bell"))
    ]
    rules = MixingRules(speeds=(93, 95, 100, 105))
    planner = Planner(clips, "train", seconds, 0, rules, reverb_bank=2)
    for sample_rate in (8000, 16000):
        renderer = Renderer(read, sample_rate)
        for row in range(20):
            layers = renderer.render_row(planner, row).layers
            lengths = {len(layer) for layer in layers.values()}
            assert lengths == {round(seconds * sample_rate)}


def test_a_speaker_beyond_the_limit_is_drawn_again_even_if_the_mix_is_not():
    def read(segment):
        tone = np.sin(2 * np.pi * 400 * np.arange(2000) / 8000)
        levels = {"one": 0.9, "two": -0.3, "scene": 0.1, "event": 0.002}
        return levels[segment.clips[0].name] * tone

    clips = [
        Source("one", "speech", "train", "", "one", "", 8000, 2000),
        Source("two", "speech", "train", "", "two", "", 8000, 2000),
        Source("scene", "scene", "train", "park", "", "", 8000, 2000),
        Source("event", "event", "train", "Bark", "", "", 8000, 2000),
    ]
    quiet = {"scene_offset_range": (-14.0, -14.0)}
    fits = Planner(clips, "train", 0.25, 0, MixingRules(ssr_range=(5, 5), **quiet))
    beyond = Planner(clips, "train", 0.25, 0, MixingRules(ssr_range=(-5, -5), **quiet))
    renderer = Renderer(read, 8000)
    for row in range(8):
        made = renderer.render_row(fits, row)
        if made.plan.speech[0].name == "one":  # 0.9 - 0.51, and else 0.3 - 0.17
            assert abs(made.layers["mix"]).max() < 0.5 * 32768
    plan = next(p for p in map(beyond.plan, range(9)) if p.speech[0].name == "one")
    with pytest.raises(Redraw, match="limited"):  # 1.6 - 0.9 would be a good mix
        renderer.render(plan)


def test_silence_is_drawn_again_and_named_if_there_is_nothing_else(sources):
    quiet = [s for s in sources if s.role != "event" or s.class_ == "Bark"]
    silent = lambda segment: np.full(2000, 0.9 * SILENCE["speech"])  # noqa: E731
    planner = Planner(quiet, "train", SECONDS, 0)
    with pytest.raises(ValueError, match=r"train row 3 \(\w+\): 200 draws were silent"):
        Renderer(silent, 8000).render_row(planner, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ssr_range": (5, -5)},
        {"ssr_range": (0.5, 1)},
        {"gain_range": (0.0,)},
        {"scene_offset_range": (float("nan"), 0.0)},
        {"speeds": ()},
        {"speeds": (0.95, 1.05)},
        {"speeds": (95.0,)},
        {"ssr_range": (-5.0, 5.0)},
    ],
)
def test_rules_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MixingRules(**wrong)


def test_draws_again_do_not_shift_levels_and_scenes(sources):
    planner = Planner(sources, "train", SECONDS, 1, MixingRules(gain_range=(-6, 0)))
    for row in range(20):
        first, again = planner.plan(row), planner.plan(row, 19)
        for name in ("ssr", "gain", "scene_offset", "scene_class"):
            assert getattr(first, name) == getattr(again, name)
        assert first.speech != again.speech and first.scene != again.scene
        assert planner.plan(row, 20).scene_class == first.scene_class
    assert {planner.plan(row, 20).ssr - planner.plan(row).ssr for row in range(9)} != {
        0
    }
    ratios = [planner.plan(row).ssr for row in range(2200)]
    counts = np.bincount(np.array(ratios) + 5, minlength=11)
    assert len(counts) == 11 and abs(counts - 200).max() < 5 * np.sqrt(200)
