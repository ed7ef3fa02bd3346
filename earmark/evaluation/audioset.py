"""Which AudioSet classes each of our labels is, so that a tagger of AudioSet can be measured as a detector of ours.

AudioSet (Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP 2017) has 527
classes; YAMNet knows 521 of them. A label gets the classes that are the same sound or a kind of it. No class stands in
for a label that AudioSet lacks: a tap is no wooden door, a bell is no church bell.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from earmark.contracts.errors import ConfigError

AUDIOSET: dict[str, tuple[str, ...]] = {
    "airplane": ("Fixed-wing aircraft, airplane", "Aircraft", "Aircraft engine", "Jet engine", "Propeller, airscrew"),
    "breathing": ("Breathing", "Wheeze", "Gasp", "Pant"),
    "brushing_teeth": ("Toothbrush", "Electric toothbrush"),
    "can_opening": (),
    "car_horn": ("Vehicle horn, car horn, honking", "Toot", "Air horn, truck horn"),
    "cat": ("Cat", "Purr", "Meow", "Caterwaul"),
    "chainsaw": ("Chainsaw",),
    "chirping_birds": ("Bird vocalization, bird call, bird song", "Chirp, tweet"),
    "church_bells": ("Church bell", "Change ringing (campanology)"),
    "clapping": ("Clapping", "Applause"),
    "clock_alarm": ("Alarm clock",),
    "clock_tick": ("Tick", "Tick-tock"),
    "coughing": ("Cough",),
    "cow": ("Cattle, bovinae", "Moo"),
    "crackling_fire": ("Fire", "Crackle"),
    "crickets": ("Cricket",),
    "crow": ("Crow", "Caw"),
    "crying_baby": ("Baby cry, infant cry",),
    "dog": ("Dog", "Bark", "Yip", "Howl", "Bow-wow", "Growling", "Whimper (dog)"),
    "door_wood_creaks": ("Creak",),
    "door_wood_knock": ("Knock",),
    "drinking_sipping": (),
    "engine": (
        "Engine",
        "Light engine (high frequency)",
        "Medium engine (mid frequency)",
        "Heavy engine (low frequency)",
        "Idling",
        "Engine starting",
        "Engine knocking",
        "Accelerating, revving, vroom",
    ),
    "fireworks": ("Fireworks", "Firecracker"),
    "footsteps": ("Walk, footsteps", "Run", "Shuffle"),
    "frog": ("Frog", "Croak"),
    "glass_breaking": ("Shatter",),
    "hand_saw": ("Sawing",),
    "helicopter": ("Helicopter",),
    "hen": ("Chicken, rooster", "Cluck"),
    "insects": ("Insect", "Fly, housefly", "Bee, wasp, etc.", "Mosquito"),
    "keyboard_typing": ("Typing", "Typewriter", "Computer keyboard"),
    "laughing": ("Laughter", "Baby laughter", "Giggle", "Snicker", "Belly laugh", "Chuckle, chortle"),
    "mouse_click": (),
    "pig": ("Pig", "Oink"),
    "pouring_water": ("Pour", "Fill (with liquid)", "Trickle, dribble"),
    "rain": ("Rain", "Raindrop", "Rain on surface"),
    "rooster": ("Crowing, cock-a-doodle-doo",),
    "sea_waves": ("Ocean", "Waves, surf"),
    "sheep": ("Sheep", "Bleat"),
    "siren": (
        "Siren",
        "Civil defense siren",
        "Police car (siren)",
        "Ambulance (siren)",
        "Fire engine, fire truck (siren)",
    ),
    "sneezing": ("Sneeze",),
    "snoring": ("Snoring",),
    "speech": ("Speech", "Child speech, kid speaking", "Conversation", "Narration, monologue"),
    "thunderstorm": ("Thunderstorm", "Thunder"),
    "toilet_flush": ("Toilet flush",),
    "train": (
        "Rail transport",
        "Train",
        "Train whistle",
        "Train horn",
        "Railroad car, train wagon",
        "Train wheels squealing",
        "Subway, metro, underground",
    ),
    "vacuum_cleaner": ("Vacuum cleaner",),
    "washing_machine": (),
    "water_drops": ("Drip",),
    "wind": ("Wind", "Wind noise (microphone)"),
}
"""Display names of AudioSet classes; a label's score is the largest of theirs. Empty: AudioSet has no such class."""


def in_audioset(labels: Iterable[str]) -> tuple[str, ...]:
    """Those labels that AudioSet has a class for, in their order."""
    return tuple(label for label in labels if AUDIOSET.get(label))


def class_places(
    class_map: Path, labels: Iterable[str], classes: Mapping[str, Sequence[str]] = AUDIOSET
) -> list[list[int]]:
    """Where the AudioSet classes of each label stand among a tagger's scores.

    Args:
        class_map: The tagger's CSV with ``index`` and ``display_name``.
        labels: Ours.
        classes: The AudioSet classes of each label.

    Raises:
        ConfigError: The table cannot be read, a label has no AudioSet classes, or a class is not in the table.
    """
    place = _read_class_map(class_map)
    places: list[list[int]] = []
    for label in labels:
        names = classes.get(label, ())
        if not names:
            raise ConfigError(f"expected AudioSet classes for the label {label!r}, got none; leave the label out")
        if unknown := [name for name in names if name not in place]:
            raise ConfigError(f"{class_map}: expected the AudioSet classes of {label!r}, found no {unknown}")
        places.append([place[name] for name in names])
    return places


def _read_class_map(path: Path) -> dict[str, int]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["display_name"]: int(row["index"]) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise ConfigError(
            f"{path}: expected a table of AudioSet classes with index and display_name, got: {error!r}"
        ) from error
