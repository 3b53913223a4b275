"""What each recording is made of: every draw of a row, by key, before any audio.

A row's plan is a function of (seed, subset, row, attempt) and the source list alone.
The scene class is the same in all attempts, and the levels in the first LEVEL_ATTEMPTS:
else those that seldom lead to a redraw would become frequent.
The rules are those of the published generator (Klec, Szklanny, Wieczorkowska, ISD
2024); where it leaves the choice open, classes and speakers are drawn uniformly first,
then a file of that class or speaker.
"""

import logging
import math
from collections import defaultdict
from dataclasses import dataclass, fields

from corpus.reverb import PlateParameters
from corpus.tables import scene_classes, suited_events
from recipekit.files import keyed

logger = logging.getLogger(__name__)

SECOND_PRE_DELAY = 0.3  # speaker 2 is nearer by up to this share of speaker 1's draw

# How often to try levels before drawing others: sources may be too loud for some.
LEVEL_ATTEMPTS = 20


@dataclass(frozen=True)
class MixingRules:
    """Between what bounds a row is drawn; the defaults are PolSESS' own.

    Arguments
    ---------
    ssr_range : sequence of int
        Lowest and highest speech-to-speech ratio in dB, integers.
    scene_offset_range : sequence of float
        Lowest and highest level of the scene in dB relative to RMS(s1 + s2).
    gain_range : sequence of float
        What both speakers are amplified by, at least and at most, in dB; the event
        keeps its level.
    speeds : sequence of int
        Speeds of the speech in percent, one of which is drawn for each speaker. Tempo
        and pitch change together.

    Raises
    ------
    ValueError
        Naming the rule and what was expected.
    """

    ssr_range: tuple = (-5, 5)
    scene_offset_range: tuple = (-14.0, 0.0)
    gain_range: tuple = (0.0, 0.0)
    speeds: tuple = (100,)

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (list, tuple)):
                example = list(field.default)
                raise ValueError(
                    f"{field.name} {value!r}: expected a list such as {example}"
                )
            object.__setattr__(self, field.name, tuple(value))
        for name in ("ssr_range", "scene_offset_range", "gain_range"):
            bounds = getattr(self, name)
            if len(bounds) != 2 or not -100 <= bounds[0] <= bounds[1] <= 100:
                raise ValueError(f"{name} {bounds}: expected [lowest, highest] in dB")
        if not all(isinstance(bound, int) for bound in self.ssr_range):
            raise ValueError(f"ssr_range {self.ssr_range}: expected whole numbers")
        if not self.speeds or any(
            not isinstance(speed, int) or not 50 <= speed <= 200
            for speed in self.speeds
        ):
            raise ValueError(
                f"speeds {self.speeds}: expected whole percentages from 50 to 200, "
                "e.g. [95, 100, 105]"
            )


POLSESS_RULES = MixingRules()


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
    speed : int
        Percent of its own speed at which it is to be played.
    """

    clips: tuple
    start: int
    frames: int
    speed: int = 100

    @property
    def rate(self):
        """Sample rate of the clips in Hz."""
        return self.clips[0].rate

    @property
    def name(self):
        """The clips' names, joined with ``|``."""
        return "|".join(clip.name for clip in self.clips)

    @property
    def transcript(self):
        """The clips' transcripts, joined with spaces."""
        return " ".join(clip.transcript for clip in self.clips if clip.transcript)


@dataclass(frozen=True)
class RowPlan:
    """All draws of one recording.

    Arguments
    ---------
    seconds : float
        Its length.
    speech : tuple of Segment
        Speaker 1 and speaker 2.
    ssr : int
        Speech-to-speech ratio in dB.
    gain : float
        What both speakers are amplified by, in dB.
    scene, event : Segment
    scene_class, event_class : str
    scene_offset : float
        Level of the scene in dB relative to RMS(s1 + s2).
    plates : tuple of PlateParameters
        Reverb of speaker 1, speaker 2 and the event; empty outdoors.
    """

    seconds: float
    speech: tuple
    ssr: int
    gain: float
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
    rules : MixingRules, optional
    reverb_bank : int, optional
        Draw the reverb from as many settings, or a few more, of which each indoor scene
        class has an equal number, instead of from all there are: settings that recur
        are quick to apply.

    Raises
    ------
    ValueError
        If the subset's sources cannot make a recording, saying what is short.
    """

    def __init__(
        self, sources, subset, seconds, seed, rules=POLSESS_RULES, reverb_bank=None
    ):
        self.subset, self.seconds, self.seed = subset, seconds, seed
        self.rules = rules
        of_subset = [source for source in sources if source.subset == subset]
        self.speakers = self._speakers(of_subset)
        self.scenes = self._by_class(of_subset, "scene")
        self.events = self._by_class(of_subset, "event")
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
        self.speaker_names, self.scene_classes = list(self.speakers), list(suited)
        indoor = sum(scene_classes()[name].indoor for name in suited)
        self.reverb_settings = reverb_bank and math.ceil(reverb_bank / max(1, indoor))
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
        needed = self.seconds * max(100, *self.rules.speeds) / 100
        clips = defaultdict(list)
        for source in sources:
            if source.role == "speech":
                clips[source.speaker or source.name, source.rate].append(source)
        speakers = defaultdict(list)
        for (speaker, _), group in sorted(clips.items()):
            if sum(clip.seconds for clip in group) >= needed:
                speakers[speaker] += group
        short = {speaker for speaker, _ in clips} - set(speakers)
        if short:
            logger.warning(
                f"{self.subset}: {len(short)} speakers are left out: less than "
                f"{needed} s of speech in all ({', '.join(sorted(short)[:3])}, …)"
            )
        return dict(speakers)

    def _by_class(self, sources, role):
        """Returns a dict from class to the sources long enough for a recording."""
        classes = defaultdict(list)
        of_role = [source for source in sources if source.role == role]
        long = [source for source in of_role if source.seconds >= self.seconds]
        for source in long:
            for name in source.classes:
                classes[name].append(source)
        if short := len(of_role) - len(long):
            logger.warning(
                f"{self.subset}: {short} of {len(of_role)} {role} sources left out: "
                f"shorter than {self.seconds} s"
            )
        return dict(sorted(classes.items()))

    def scene_class(self, row):
        """Returns the scene class of a row; the same in all attempts."""
        return keyed.choice(
            self.scene_classes, self.seed, self.subset, row, "scene class"
        )

    def plan(self, row, attempt=0):
        """Returns the RowPlan of a row.

        Arguments
        ---------
        row : int
            The row's number in its subset.
        attempt : int
            0, or how often the row was redrawn.
        """
        key = (self.seed, self.subset, row, attempt)
        level = (self.seed, self.subset, row, "levels", attempt // LEVEL_ATTEMPTS)
        first = keyed.integer(*key, "speaker 1") % len(self.speaker_names)
        # One of the others: those after the first are shifted by one.
        second = keyed.integer(*key, "speaker 2") % (len(self.speaker_names) - 1)
        speaker1 = self.speaker_names[first]
        speaker2 = self.speaker_names[second + (second >= first)]
        scene_class = self.scene_class(row)
        event_class = keyed.choice(self.suited[scene_class], *key, "event class")
        scene = keyed.choice(self.scenes[scene_class], *key, "scene")
        event = keyed.choice(self.events[event_class], *key, "event")
        rules = self.rules
        return RowPlan(
            seconds=self.seconds,
            speech=(
                self._speech(speaker1, *key, "speech 1"),
                self._speech(speaker2, *key, "speech 2"),
            ),
            ssr=keyed.randint(*rules.ssr_range, *level, "ssr"),
            gain=keyed.uniform(*rules.gain_range, *level, "gain"),
            scene=self._cut((scene,), 100, *key, "scene start"),
            scene_class=scene_class,
            scene_offset=keyed.uniform(
                *rules.scene_offset_range, *level, "scene offset"
            ),
            event=self._cut((event,), 100, *key, "event start"),
            event_class=event_class,
            plates=self._plates(scene_classes()[scene_class], *key),
        )

    def _speech(self, speaker, *key):
        """Draws a segment of a speaker's speech, joining clips that are too short."""
        speed = keyed.choice(self.rules.speeds, *key, "speed")
        needed = self.seconds * speed / 100
        first = keyed.choice(self.speakers[speaker], *key, "clip")
        clips = [first]
        if first.seconds < needed:
            rest = [
                clip
                for clip in self.speakers[speaker]
                if clip.rate == first.rate and clip is not first
            ]
            for clip in sorted(rest, key=lambda clip: keyed.integer(*key, clip.name)):
                clips.append(clip)
                if sum(clip.seconds for clip in clips) >= needed:
                    break
        return self._cut(tuple(clips), speed, *key, "start")

    def _cut(self, clips, speed, *key):
        """Draws where a segment starts; joined clips start at their beginning."""
        frames = round(self.seconds * clips[0].rate * speed / 100)
        spare = sum(clip.frames for clip in clips) - frames
        start = keyed.randint(0, spare, *key) if len(clips) == 1 else 0
        return Segment(clips, start, frames, speed)

    def _plates(self, scene, *key):
        """Draws the reverb of speaker 1, speaker 2 and the event; () outdoors."""
        if not scene.indoor:
            return ()
        setting = key
        if self.reverb_settings:
            number = keyed.integer(*key, "response") % self.reverb_settings
            setting = (self.seed, scene.name, number)
        shared = {
            name: keyed.uniform(*scene.ranges[name], *setting, name)
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
