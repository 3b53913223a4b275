"""What each recording is made of: every draw of a row, by key, before any audio.

A row's plan is a function of (seed, subset, row, attempt) and the source list alone.
The rules are those of the published generator (Klec, Szklanny, Wieczorkowska, ISD
2024); where it leaves the choice open, classes and speakers are drawn uniformly first,
then a file of that class or speaker.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass

from corpus import keyed
from corpus.reverb import PlateParameters
from corpus.tables import scene_classes, suited_events

logger = logging.getLogger(__name__)

SSR_RANGE = (-5, 5)  # dB, integers
SCENE_OFFSET_RANGE = (-14.0, 0.0)  # dB, relative to RMS(s1 + s2)
SECOND_PRE_DELAY = 0.3  # speaker 2 is nearer by up to this share of speaker 1's draw


@dataclass(frozen=True)
class Segment:
    """A piece of one source, or of short clips of one speaker joined end to end.

    Arguments
    ---------
    clips : tuple of Source
        One source, or several of one speaker and rate.
    start : int
        First sample, counted from 0 at the sources' own rate.
    frames : int
        Length in samples at that rate.
    """

    clips: tuple
    start: int
    frames: int

    @property
    def rate(self):
        """Sample rate of the clips in Hz."""
        return self.clips[0].rate

    @property
    def path(self):
        """The clips' paths, joined with ``|``."""
        return "|".join(clip.path for clip in self.clips)

    @property
    def transcript(self):
        """The clips' transcripts, joined with spaces."""
        return " ".join(clip.transcript for clip in self.clips if clip.transcript)


@dataclass(frozen=True)
class RowPlan:
    """All draws of one recording.

    Arguments
    ---------
    speech : tuple of Segment
        Speaker 1 and speaker 2.
    ssr : int
        Speech-to-speech ratio in dB.
    scene, event : Segment
    scene_class, event_class : str
    scene_offset : float
        Level of the scene in dB relative to RMS(s1 + s2).
    plates : tuple of PlateParameters
        Reverb of speaker 1, speaker 2 and the event; empty outdoors.
    """

    speech: tuple
    ssr: int
    scene: Segment
    scene_class: str
    scene_offset: float
    event: Segment
    event_class: str
    plates: tuple


class Planner:
    """Draws the plans of one subset's rows.

    Arguments
    ---------
    sources : list of Source
        The whole source list.
    subset : str
        train, val or test.
    seconds : float
        Length of a recording.
    seed : int
        Seed of the corpus.

    Raises
    ------
    ValueError
        If the subset's sources cannot make a recording, saying what is short.
    """

    def __init__(self, sources, subset, seconds, seed):
        self.subset, self.seconds, self.seed = subset, seconds, seed
        mine = [source for source in sources if source.subset == subset]
        self.speakers = self._speakers(mine)
        self.scenes = self._by_class(mine, "scene")
        self.events = self._by_class(mine, "event")
        suited = {
            scene: sorted(suited_events(scene) & set(self.events))
            for scene in self.scenes
        }
        for scene in [scene for scene, events in suited.items() if not events]:
            logger.warning(
                f"{subset}: scene class {scene!r} is left out: no event of the subset "
                "may sound in it (see corpus/tables/event_classes.csv)"
            )
            del suited[scene]
        self.suited = suited
        if len(self.speakers) < 2 or not suited:
            raise ValueError(
                f"{subset}: recordings need two speakers with {seconds} s of speech "
                f"each and a scene with a suited event; the sources have "
                f"{len(self.speakers)} such speakers, {len(self.scenes)} scene and "
                f"{len(self.events)} event classes of that length. Add sources, or ask "
                "for 0 rows of this subset"
            )

    def _speakers(self, sources):
        """Returns a dict from speaker to clips, of those with enough speech."""
        clips = defaultdict(list)
        for source in sources:
            if source.role == "speech":
                clips[source.speaker or source.path, source.rate].append(source)
        speakers = defaultdict(list)
        for (speaker, _), group in sorted(clips.items()):
            if sum(clip.seconds for clip in group) >= self.seconds:
                speakers[speaker] += group
        short = {speaker for speaker, _ in clips} - set(speakers)
        if short:
            logger.warning(
                f"{self.subset}: {len(short)} speakers are left out: less than "
                f"{self.seconds} s of speech in all ({', '.join(sorted(short)[:3])}, …)"
            )
        return dict(speakers)

    def _by_class(self, sources, role):
        """Returns a dict from class to the sources long enough for a recording."""
        classes = defaultdict(list)
        mine = [source for source in sources if source.role == role]
        long = [source for source in mine if source.seconds >= self.seconds]
        for source in long:
            for name in source.classes:
                classes[name].append(source)
        if len(long) < len(mine):
            logger.warning(
                f"{self.subset}: {len(mine) - len(long)} of {len(mine)} {role} sources "
                f"are left out: shorter than {self.seconds} s"
            )
        return dict(sorted(classes.items()))

    def plan(self, row, attempt=0):
        """Returns the RowPlan of a row.

        Arguments
        ---------
        row : int
            The row's number in its subset.
        attempt : int
            0, or how often the row had to be drawn again.
        """
        key = (self.seed, self.subset, row, attempt)
        speaker1 = keyed.choice(list(self.speakers), *key, "speaker 1")
        others = [name for name in self.speakers if name != speaker1]
        speaker2 = keyed.choice(others, *key, "speaker 2")
        scene_class = keyed.choice(list(self.suited), *key, "scene class")
        event_class = keyed.choice(self.suited[scene_class], *key, "event class")
        scene = keyed.choice(self.scenes[scene_class], *key, "scene")
        event = keyed.choice(self.events[event_class], *key, "event")
        return RowPlan(
            speech=(
                self._speech(speaker1, *key, "speech 1"),
                self._speech(speaker2, *key, "speech 2"),
            ),
            ssr=keyed.randint(*SSR_RANGE, *key, "ssr"),
            scene=self._cut((scene,), *key, "scene start"),
            scene_class=scene_class,
            scene_offset=keyed.uniform(*SCENE_OFFSET_RANGE, *key, "scene offset"),
            event=self._cut((event,), *key, "event start"),
            event_class=event_class,
            plates=_plates(scene_classes()[scene_class], *key),
        )

    def _speech(self, speaker, *key):
        """Draws a segment of a speaker's speech, joining clips that are too short."""
        first = keyed.choice(self.speakers[speaker], *key, "clip")
        clips = [first]
        if first.seconds < self.seconds:
            rest = [
                clip
                for clip in self.speakers[speaker]
                if clip.rate == first.rate and clip is not first
            ]
            for clip in sorted(rest, key=lambda clip: keyed.integer(*key, clip.path)):
                clips.append(clip)
                if sum(clip.seconds for clip in clips) >= self.seconds:
                    break
        return self._cut(tuple(clips), *key, "start")

    def _cut(self, clips, *key):
        """Draws where a segment starts; joined clips start at their beginning."""
        frames = round(self.seconds * clips[0].rate)
        spare = sum(clip.frames for clip in clips) - frames
        start = keyed.randint(0, spare, *key) if len(clips) == 1 else 0
        return Segment(clips, start, frames)


def _plates(scene, *key):
    """Draws the reverb of speaker 1, speaker 2 and the event; () outdoors."""
    if not scene.indoor:
        return ()
    shared = {
        name: keyed.uniform(*scene.ranges[name], *key, name)
        for name in ("high_cut", "diffusion", "decay", "freq_damp")
    }
    low, high = scene.ranges["pre_delay"]
    delay = keyed.uniform(0.0, high - low, *key, "pre-delay 1")
    nearer = keyed.uniform(0.0, SECOND_PRE_DELAY, *key, "pre-delay 2")
    pre_delays = (
        low + delay,
        low + delay - delay * nearer,
        keyed.uniform(low, high, *key, "pre-delay event"),
    )
    return tuple(PlateParameters(pre_delay=d, **shared) for d in pre_delays)
