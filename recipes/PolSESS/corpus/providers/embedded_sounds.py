"""Makes acoustic scenes and sound events out of noise and tones.

Each class has a function of a random generator and a length that returns samples
without a set level; make_sound calls it and sets the level. The sounds are sketches
that differ clearly in spectrum and in time, not imitations to take results from.
"""

import numpy as np

from recipekit.files import keyed

SAMPLE_RATE = 16000
SECONDS = {"scene": 10, "event": 5}
LEVELS = {"scene": (-32.0, -28.0), "event": (-32.0, -26.0)}
MAX_PEAK = 0.69


def make_sound(role, class_name, *key):
    """Makes a scene or an event.

    Arguments
    ---------
    role : str
        scene (10 s) or event (5 s, with no silent 4 s in it).
    class_name : str
        A name in SOUNDS[role].
    *key : str, int, float or bool
        Same key, same samples.

    Returns
    -------
    np.ndarray
        [samples] at SAMPLE_RATE; RMS drawn from LEVELS[role] (dB re full scale),
        lower where the peak would exceed MAX_PEAK.
    """
    random = keyed.generator(*key, "noise")
    samples = SOUNDS[role][class_name](random, SECONDS[role] * SAMPLE_RATE)
    level = keyed.uniform(*LEVELS[role], *key, "level")
    rms = np.sqrt(np.mean(samples**2))
    return samples * min(10 ** (level / 20) / rms, MAX_PEAK / np.abs(samples).max())


# Building blocks. Lengths are in samples, frequencies in Hz.


def _shape(samples, curve):
    """Filters; curve: dB at frequencies in rising order, straight over octaves."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    decibels = np.interp(
        np.log2(np.maximum(frequency, 1)), np.log2(list(curve)), list(curve.values())
    )
    return np.fft.irfft(spectrum * 10 ** (decibels / 20), len(samples))


def _noise(random, length, curve):
    """Noise of unit RMS with the spectrum of a curve as in _shape."""
    samples = _shape(random.standard_normal(length), curve)
    return samples / np.sqrt(np.mean(samples**2))


def _wander(random, length, changes_per_second, spread):
    """A smooth random curve around 1; spread: its standard deviation in dB."""
    knots = max(round(length / SAMPLE_RATE * changes_per_second), 2) + 1
    decibels = spread * random.standard_normal(knots)
    position = np.linspace(0, knots - 1, length)
    before = np.minimum(position.astype(int), knots - 2)
    share = (1 - np.cos(np.pi * (position - before))) / 2
    return 10 ** (((1 - share) * decibels[before] + share * decibels[before + 1]) / 20)


def _time(length):
    return np.arange(length) / SAMPLE_RATE


def _fade(length, attack, release):
    """1 with rising and falling edges of so many seconds."""
    time = _time(length)
    edges = np.minimum(time / attack, (time[-1] - time) / release)
    return np.sin(np.pi / 2 * np.clip(edges, 0, 1))


def _ring(length, partials, seconds):
    """Struck body; partials: amplitude at Hz; higher ones die sooner than seconds."""
    time = _time(length)
    lowest = min(partials)
    return sum(
        amplitude
        * np.sin(2 * np.pi * frequency * time)
        * np.exp(-time / seconds * np.sqrt(frequency / lowest))
        for frequency, amplitude in partials.items()
    )


def _harmonics(frequency, weights):
    """Harmonics of a frequency [samples] that may move; weights: their amplitudes."""
    rotation = np.exp(2j * np.pi * np.cumsum(frequency) / SAMPLE_RATE)
    harmonic, samples = 1, 0
    for number, weight in enumerate(weights, start=1):
        harmonic = harmonic * rotation
        samples += weight * harmonic.imag * (number * frequency < 7500)
    return samples


def _place(length, bursts):
    """Sums bursts; bursts: pairs of start in seconds and samples."""
    samples = np.zeros(length)
    for start, burst in bursts:
        begin = round(start * SAMPLE_RATE)
        room = samples[begin : begin + len(burst)]
        room += burst[: len(room)]
    return samples


def _click(random, seconds, curve):
    """A noise burst that dies away within about so many seconds."""
    length = round(seconds * SAMPLE_RATE)
    return _noise(random, length, curve) * np.exp(-5 * _time(length) / seconds)


def _spread(random, length, gap, jitter=0.3):
    """Start times in seconds, about gap apart, over the whole length."""
    count = max(int(length / SAMPLE_RATE / gap), 1)
    starts = (np.arange(count) + 0.1) * length / SAMPLE_RATE / count
    return starts + jitter * gap * random.random(count)


# Scenes.


def _tram(random, length):
    rumble = _noise(random, length, {30: 0, 150: -4, 500: -22, 2000: -40, 8000: -60})
    speed = 1 + 0.15 * np.log(_wander(random, length, 0.3, 8))
    motor = _harmonics(random.uniform(180, 260) * speed, (1, 0.6, 0.2, 0.4, 0.1, 0.2))
    squeal = _noise(random, length, {1500: -60, 2600: -8, 2800: 0, 3000: -8, 5000: -50})
    squeal *= np.clip(_wander(random, length, 1, 9) - 1.2, 0, 3)
    clack = {60: 0, 300: -3, 1200: -12, 6000: -30}
    clacks = [
        (start + late, 4 * _click(random, 0.12, clack))
        for start in _spread(random, length, 1.3, jitter=0.05)
        for late in (0, 0.17)
    ]
    moving = _wander(random, length, 0.7, 2)
    return (rumble + 0.2 * motor) * moving + 0.25 * squeal + _place(length, clacks)


def _cafe(random, length):
    speech = {60: -40, 150: -4, 500: 0, 1000: -8, 4000: -24, 8000: -40}
    talkers = np.zeros(length)
    for _ in range(8):
        intonation = _wander(random, length, 2, 1.2)
        voice = _harmonics(
            random.uniform(100, 240) * intonation, 1 / np.arange(1, 16) ** 0.7
        )
        vowels = _wander(random, length, 5, 8) * _wander(random, length, 0.6, 6)
        talkers += np.minimum(vowels, 4) * voice * random.uniform(0.3, 1)
        hiss = _noise(random, length, {1500: -40, 3500: 0, 7000: -3})
        talkers += 0.4 * hiss * np.clip(_wander(random, length, 7, 8) - 1.5, 0, 2)
    room = _noise(random, length, speech)
    clinks = []
    for start in _spread(random, length, 1.1, jitter=0.9):
        pitch = random.uniform(2200, 3800)
        ring = _ring(6000, {pitch: 1, 1.47 * pitch: 0.7, 1.9 * pitch: 0.4}, 0.08)
        clinks.append((start, random.uniform(1, 4) * ring))
    return talkers + 1.5 * room + _place(length, clinks)


def _office(random, length):
    air = _noise(random, length, {40: -6, 120: 0, 500: -6, 2000: -22, 8000: -45})
    hum = _harmonics(np.full(length, 50.0), (0.5, 1, 0.1, 0.5, 0.05, 0.3, 0.02, 0.2))
    keys = []
    for start in _spread(random, length, 2.4):
        for stroke in np.cumsum(random.uniform(0.09, 0.25, 8)):
            key = _click(random, 0.025, {300: -20, 1500: -3, 3500: 0, 8000: -10})
            keys.append((start + stroke, random.uniform(1, 2.5) * key))
    steady = _wander(random, length, 0.3, 0.5)
    return air * steady + 0.35 * hum + _place(length, keys)


def _street_traffic(random, length):
    roar = _noise(random, length, {30: -3, 80: 0, 400: -12, 1500: -18, 8000: -45})
    time = _time(length)
    cars = np.zeros(length)
    for passing in _spread(random, length, 2.2, jitter=0.8):
        distance = (time - passing) * random.uniform(1.2, 2.5)
        near = 1 / (1 + distance**2)
        tyres = _noise(random, length, {60: -6, 300: -6, 900: 0, 2500: -12, 8000: -30})
        doppler = 1 - 0.06 * np.tanh(distance)
        engine = _harmonics(random.uniform(60, 110) * doppler, (1, 0.8, 0.5, 0.4, 0.3))
        cars += random.uniform(0.6, 1.5) * near * (2 * tyres + 0.8 * engine)
    return roar + cars


def _park(random, length):
    gusts = np.minimum(_wander(random, length, 0.5, 4), 2.5)
    wind = _noise(random, length, {30: 0, 120: -3, 400: -18, 1500: -35, 8000: -55})
    leaves = _noise(random, length, {500: -30, 2000: -4, 4500: 0, 8000: -8})
    leaves *= np.minimum(_wander(random, length, 25, 4), 2.5)
    return wind * gusts + 0.35 * leaves * gusts


def _beach(random, length):
    sea = _noise(random, length, {40: -8, 150: 0, 800: -8, 3000: -18, 8000: -30})
    time = _time(length)
    waves = np.zeros(length)
    for breaking in _spread(random, length + 3 * SAMPLE_RATE, 3.0) - 2:
        since = time - breaking
        swell = np.where(since < 0, np.exp(since / 0.5), np.exp(-since / 1.4))
        foam = _noise(random, length, {80: -10, 400: -3, 1500: 0, 5000: -6, 8000: -12})
        waves += random.uniform(1.5, 3) * swell * foam
    return 0.5 * sea + waves


# Events.


def _bark(random, length):
    pitch, size = random.uniform(350, 650), random.uniform(0.8, 1.25)
    barks = []
    for start in _spread(random, length, 1.2):
        for number in range(random.integers(1, 4)):
            count = int(random.uniform(0.13, 0.2) * SAMPLE_RATE)
            fall = pitch * np.linspace(1.15, 0.65, count)
            voice = _harmonics(fall, 1 / np.arange(1, 14) ** 0.5)
            rough = _noise(random, count, {200: -20, 900: 0, 2500: -6, 7000: -25})
            formants = {200: -25, 700 * size: 0, 1300 * size: -4, 2600: -20, 7000: -40}
            body = _shape(voice + 0.6 * rough, formants)
            barks.append((start + 0.28 * number, body * _fade(count, 0.02, 0.1)))
    return _place(length, barks)


def _car_horn(random, length):
    low = random.uniform(330, 440)
    weights = (0.6, 1, 0.9, 0.7, 0.5, 0.5, 0.3, 0.2)
    honks = []
    for start in _spread(random, length, 1.25, jitter=0.2):
        count = int(random.uniform(0.25, 0.8) * SAMPLE_RATE)
        chord = sum(
            _harmonics(np.full(count, low * interval), weights)
            for interval in (1, 1.26)
        )
        honks.append((start, chord * _fade(count, 0.02, 0.05)))
    return _place(length, honks)


def _siren(random, length):
    turns = random.uniform(0.25, 0.6) * _time(length) + random.random()
    sweep = random.uniform(850, 1000) * 2 ** (0.6 * np.sin(2 * np.pi * turns))
    return _harmonics(sweep, (1, 0.5, 0.4, 0.2, 0.1)) * _wander(random, length, 0.5, 2)


def _knock(random, length):
    board = random.uniform(160, 320)
    partials = {board: 1, 2.3 * board: 0.7, 4.1 * board: 0.4}
    knocks = []
    for start in _spread(random, length, 1.6, jitter=0.2):
        for number in range(random.integers(3, 5)):
            knuckle = _click(random, 0.05, {200: 0, 1200: -6, 4000: -20, 8000: -40})
            blow = _ring(3200, partials, 0.035)
            blow[: len(knuckle)] += 0.4 * knuckle
            knocks.append((start + 0.23 * number, random.uniform(0.7, 1) * blow))
    return _place(length, knocks)


def _ringtone(random, length):
    base = random.uniform(600, 900)
    steps = random.choice((0, 2, 4, 7, 9, 12), size=6)
    notes = []
    for number in range(int(length / SAMPLE_RATE / 0.18)):
        if number % 9 < 6:
            pitch = base * 2 ** (steps[number % 9] / 12)
            note = _ring(4000, {pitch: 1, 2 * pitch: 0.4, 4 * pitch: 0.3}, 0.12)
            notes.append((0.18 * number, note * _fade(4000, 0.003, 0.02)))
    return _place(length, notes)


def _church_bells(random, length):
    # Partials of a church bell: hum, prime, tierce, quint, nominal and above.
    ratios = {0.5: 0.7, 1: 1, 1.2: 0.9, 1.5: 0.4, 2: 1, 2.67: 0.5, 3: 0.4, 4.2: 0.2}
    prime = random.uniform(280, 520)
    tones = (prime, prime * random.choice((1.125, 1.25, 1.333)))
    strokes = []
    for number, start in enumerate(_spread(random, length, 0.8, jitter=0.1)):
        bell = {tones[number % 2] * ratio: size for ratio, size in ratios.items()}
        strokes.append((start, random.uniform(0.7, 1) * _ring(48000, bell, 1.2)))
    return _place(length, strokes)


def _chirping_birds(random, length):
    chirps = []
    for start in _spread(random, length, 0.7):
        centre, reach = random.uniform(2800, 5200), random.uniform(-0.3, 0.3)
        count = int(random.uniform(0.05, 0.12) * SAMPLE_RATE)
        sweep = centre * (1 + reach * np.cos(np.linspace(0, 3 * np.pi, count)))
        chirp = np.sin(2 * np.pi * np.cumsum(sweep) / SAMPLE_RATE)
        chirp *= _fade(count, 0.02, 0.03) * random.uniform(0.4, 1)
        for number in range(random.integers(2, 6)):
            chirps.append((start + 0.13 * number, chirp))
    return _place(length, chirps)


def _clapping(random, length):
    claps = []
    for _ in range(random.integers(3, 7)):
        palms = random.uniform(900, 1800)
        curve = {200: -25, palms: 0, 3 * palms: -8, 8000: -25}
        for start in _spread(random, length, random.uniform(0.22, 0.3), jitter=0.2):
            claps.append((start, random.uniform(0.5, 1) * _click(random, 0.06, curve)))
    return _place(length, claps)


SOUNDS = {
    "scene": {
        "tram": _tram,
        "cafe/restaurant": _cafe,
        "office": _office,
        "street_traffic": _street_traffic,
        "park": _park,
        "beach": _beach,
    },
    "event": {
        "Bark": _bark,
        "car_horn": _car_horn,
        "siren": _siren,
        "Knock": _knock,
        "Ringtone": _ringtone,
        "church_bells": _church_bells,
        "chirping_birds": _chirping_birds,
        "clapping": _clapping,
    },
}
