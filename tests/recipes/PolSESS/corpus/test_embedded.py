"""Tests of the embedded sources: real files, made once, small."""

import resource
import sys

import numpy as np
import pytest
import soundfile

from corpus.audio import write_audio
from corpus.providers import embedded, embedded_speech
from corpus.providers.embedded_sounds import SOUNDS, make_sound
from corpus.providers.embedded_speech import Speaker, speakers, utterance
from corpus.sources import SUBSETS, check
from corpus.tables import scene_classes, suited_events

SMALL = {"num_speakers": (4, 2, 2), "utterances_per_speaker": 2}
# Roughness, flutter and breath: voices in which espeak's inner state is heard.
WOMAN = Speaker("woman", "f1", 50, 50, 160)
MAN = Speaker("man", "m1", 50, 50, 160)
TEXT = "Źdźbło trawy ugięło się pod ciężarem żółtego żuka, który niespiesznie wędrował."


@pytest.fixture(scope="module", autouse=True)
def few_recordings():
    """One scene and one event of each class and subset keeps the tests short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "RECORDINGS", {"scene": (1, 1, 1), "event": (1, 1, 1)})
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with embedded sources and their list."""
    folder = tmp_path_factory.mktemp("embedded")
    return folder, embedded.make_sources(folder, workers=1, **SMALL)


def read_all(folder):
    """The bytes of every file by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def of(sources, role, subset):
    """The sources of a role in a subset."""
    return [
        source for source in sources if source.role == role and source.subset == subset
    ]


def median_f0(samples, rate=16000):
    """Median pitch in Hz: the autocorrelation's peak in the loud 40 ms frames."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, rate // 25)[::320]
    energy = np.sum(frames**2, axis=1)
    pitches = []
    for frame in frames[energy > 0.2 * energy.max()]:
        correlation = np.correlate(frame, frame, "full")[len(frame) - 1 :]
        shortest, longest = rate // 400, rate // 60
        lag = shortest + np.argmax(correlation[shortest:longest])
        pitches.append(rate / lag)
    return np.median(pitches)


def test_list_agrees_with_the_files(made):
    folder, sources = made
    assert {source.path for source in sources} == set(read_all(folder))
    for source in sources:
        check(source, source.path)
        info = soundfile.info(folder / source.path)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert (info.format, info.subtype) == ("WAV", "PCM_16")
        assert (source.rate, source.frames) == (16000, info.frames)
        assert source.source == "embedded"


def test_durations(made):
    _, sources = made
    for source in sources:
        shortest, longest = {"speech": (4.2, 8.5), "scene": (10, 10), "event": (5, 5)}[
            source.role
        ]
        assert shortest <= source.seconds <= longest, source.path


def test_speech_has_speakers_and_polish_transcripts(made):
    _, sources = made
    names = []
    for subset, count in zip(SUBSETS, SMALL["num_speakers"], strict=True):
        speech = of(sources, "speech", subset)
        assert len(speech) == 2 * count
        names.append({source.speaker for source in speech})
        assert len(names[-1]) == count
        for name in names[-1]:
            said = [source.transcript for source in speech if source.speaker == name]
            assert len(set(said)) == 2
    assert len(set.union(*names)) == sum(SMALL["num_speakers"])
    letters = set("".join(source.transcript for source in sources).lower())
    assert set("ąćęłńóśźż") <= letters
    assert not any(source.transcript for source in sources if source.role != "speech")


def test_default_speakers_share_no_voice_variant_between_subsets():
    variants = [
        {speaker.variant for speaker in speakers(subset, count, seed=0)}
        for subset, count in zip(SUBSETS, (24, 8, 8), strict=True)
    ]
    assert sum(map(len, variants)) == len(set.union(*variants))


def test_every_speaker_in_the_limit_is_another():
    for subset in SUBSETS:
        with pytest.raises(
            ValueError, match=f"999 for {subset}, expected 0 to"
        ) as error:
            speakers(subset, 999, seed=0)
        limit = int(str(error.value).split(" to ")[1].split()[0])
        everyone = speakers(subset, limit, seed=0)
        assert len({speaker.name for speaker in everyone}) == limit
        assert len({(s.variant, s.pitch) for s in everyone}) == limit


def test_sentences_are_many_and_different():
    sentences = embedded_speech.sentences()
    assert len(set(sentences)) == len(sentences) >= 80
    assert all(sentence.endswith((".", "?")) for sentence in sentences)


@pytest.mark.parametrize("variant", ["Andrea", "anika", "Andy", "f1"])
def test_shortest_and_longest_utterances(variant):
    """The quickest and slowest voices, the shortest and longest sentences."""
    by_length = sorted(embedded_speech.sentences(), key=len)
    quick = utterance(Speaker("", variant, 50, 50, 170), by_length[0], -24)
    slow = utterance(Speaker("", variant, 50, 50, 135), by_length[-1], -24)
    assert 4.2 * 16000 <= len(quick) and len(slow) <= 8.5 * 16000


def test_levels_and_no_silence(made):
    folder, sources = made
    limits = {
        "speech": (-26.1, -21.9, 0.9),
        "scene": (-32.1, -27.9, 0.7),
        "event": (-32.1, -25.9, 0.7),
    }
    for source in sources:
        samples, rate = soundfile.read(folder / source.path)
        low, high, peak = limits[source.role]
        level = 10 * np.log10(np.mean(samples**2))
        assert low <= level <= high, source.path
        assert np.abs(samples).max() < peak, source.path
        energy = np.concatenate(([0], np.cumsum(samples**2)))
        windows = (energy[4 * rate :] - energy[: -4 * rate]) / (4 * rate)
        assert 10 * np.log10(windows.min()) > -50, source.path


def test_speech_starts_and_ends_without_silence(made):
    folder, sources = made
    for source in sources:
        if source.role == "speech":
            samples, _ = soundfile.read(folder / source.path)
            loud = np.abs(samples) > 0.01 * np.abs(samples).max()
            assert loud[:400].any() and loud[-400:].any(), source.path


def test_every_scene_has_two_suited_events_in_every_subset(made):
    _, sources = made
    for subset in SUBSETS:
        scenes = {source.class_ for source in of(sources, "scene", subset)}
        events = {source.class_ for source in of(sources, "event", subset)}
        assert len(scenes) >= 5 and len(events) >= 5
        assert {scene_classes()[scene].indoor for scene in scenes} == {True, False}
        for scene in scenes:
            assert len(events & suited_events(scene)) >= 2, (subset, scene)


@pytest.mark.parametrize("role", ["scene", "event"])
def test_sounds_of_a_class_are_alike_and_classes_differ(role):
    """Nearest neighbour by spectrum finds the class of a second recording."""

    def describe(class_name, number):
        samples = make_sound(role, class_name, 0, class_name, number)
        power = np.abs(np.fft.rfft(samples)) ** 2
        edges = np.geomspace(50, 8000, 20) / 8000 * (len(power) - 1)
        bands = np.add.reduceat(power, edges.astype(int)[:-1])
        return np.log(bands / bands.sum() + 1e-6)

    known = {
        name: [describe(name, number) for number in range(4)] for name in SOUNDS[role]
    }
    for name in SOUNDS[role]:
        sound = describe(name, 99)
        nearest = min(
            known,
            key=lambda other: min(np.sum((sound - one) ** 2) for one in known[other]),
        )
        assert nearest == name


def test_speakers_differ_in_pitch_and_women_speak_higher():
    def pitch(speaker):
        return median_f0(utterance(speaker, TEXT, -24))

    woman, man = pitch(WOMAN), pitch(MAN)
    assert 160 < woman < 260 and 70 < man < 130
    assert pitch(Speaker("", "m1", 72, 50, 160)) > 1.15 * man


def test_same_bytes_in_another_process_count(made, tmp_path):
    folder, sources = made
    assert embedded.make_sources(tmp_path, workers=2, **SMALL) == sources
    assert read_all(tmp_path) == read_all(folder)


def test_same_speech_after_other_speech():
    first = utterance(WOMAN, TEXT, -24)
    utterance(MAN, TEXT[:30], -24)
    assert np.array_equal(first, utterance(WOMAN, TEXT, -24))


def test_another_seed_is_another_corpus(made):
    _, sources = made
    jobs = embedded._speech(1, **SMALL)
    assert [job[0].transcript for job in jobs] != [
        source.transcript for source in sources if source.role == "speech"
    ]
    sound = make_sound("scene", "park", 0, "a")
    assert not np.array_equal(sound, make_sound("scene", "park", 1, "a"))


def test_interrupted_generation_goes_on(made, tmp_path):
    folder, sources = made
    want = read_all(folder)
    lost = sources[3].path
    for path, content in want.items():
        if path != lost:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    (tmp_path / f"{lost}.part").write_bytes(b"RIFF half a file")
    before = {
        path: (tmp_path / path).stat().st_mtime_ns for path in want if path != lost
    }
    assert embedded.make_sources(tmp_path, workers=1, **SMALL) == sources
    assert read_all(tmp_path) == want
    for path, modified in before.items():
        assert (tmp_path / path).stat().st_mtime_ns == modified


def test_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    """A limit on file sizes stands for the full disk: the write fails half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "one.wav"
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, hard))
    try:
        with pytest.raises(OSError, match="one.wav: could not be written"):
            write_audio(path, np.zeros(16000), 16000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not read_all(tmp_path)


def test_missing_or_broken_espeak_says_what_to_install(monkeypatch, tmp_path):
    broken = tmp_path / "libespeak-ng.so"
    broken.write_text("not a library")
    with monkeypatch.context() as patch:
        patch.setattr("espeakng_loader.get_library_path", lambda: str(broken))
        with pytest.raises(OSError, match="libespeak-ng.so.*pip install"):
            utterance(WOMAN, TEXT, -24)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(OSError, match="pip install .*espeakng-loader"):
        utterance(WOMAN, TEXT, -24)
