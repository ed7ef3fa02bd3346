"""What our classes are in AudioSet, so that a network of its 527 classes can teach ours and be compared with them.

Names are AudioSet's display names, in YAMNet's list of 521 and in the whole one of 527 alike (Gemmeke et al., "Audio
Set: An ontology and human-labeled dataset for audio events", ICASSP 2017).
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError

AUDIOSET: Mapping[str, tuple[str, ...]] = {
    "airplane": ("Fixed-wing aircraft, airplane", "Aircraft", "Aircraft engine", "Jet engine", "Propeller, airscrew"),
    "breathing": ("Breathing", "Gasp", "Pant", "Wheeze", "Sigh"),
    "brushing_teeth": ("Toothbrush", "Electric toothbrush"),
    "can_opening": (),
    "car_horn": ("Vehicle horn, car horn, honking", "Air horn, truck horn", "Toot"),
    "cat": ("Cat", "Meow", "Caterwaul", "Purr"),
    "chainsaw": ("Chainsaw",),
    "chirping_birds": ("Bird", "Bird vocalization, bird call, bird song", "Chirp, tweet"),
    "church_bells": ("Church bell", "Change ringing (campanology)"),
    "clapping": ("Clapping", "Applause"),
    "clock_alarm": ("Alarm clock", "Buzzer", "Smoke detector, smoke alarm", "Fire alarm"),
    "clock_tick": ("Tick", "Tick-tock", "Clock"),
    "coughing": ("Cough", "Throat clearing"),
    "cow": ("Cattle, bovinae", "Moo"),
    "crackling_fire": ("Fire", "Crackle"),
    "crickets": ("Cricket",),
    "crow": ("Crow", "Caw"),
    "crying_baby": ("Baby cry, infant cry",),
    "dog": ("Dog", "Bark", "Yip", "Bow-wow", "Growling", "Whimper (dog)"),
    "door_slam": ("Door", "Slam", "Sliding door", "Cupboard open or close", "Drawer open or close"),
    "door_wood_creaks": ("Creak", "Squeak"),
    "door_wood_knock": ("Knock", "Tap"),
    "drinking_sipping": ("Gargling", "Burping, eructation", "Chewing, mastication"),
    "engine": (
        "Engine",
        "Idling",
        "Light engine (high frequency)",
        "Medium engine (mid frequency)",
        "Heavy engine (low frequency)",
        "Engine starting",
        "Engine knocking",
        "Accelerating, revving, vroom",
        "Motorcycle",
    ),
    "fireworks": ("Fireworks", "Firecracker"),
    "flowing_water": ("Stream", "Waterfall"),
    "footsteps": ("Walk, footsteps", "Run", "Shuffle"),
    "frog": ("Frog", "Croak"),
    "glass_breaking": ("Smash, crash", "Shatter", "Breaking"),
    "gunshot_explosion": (
        "Gunshot, gunfire",
        "Machine gun",
        "Fusillade",
        "Artillery fire",
        "Explosion",
        "Eruption",
    ),
    "hand_saw": ("Sawing",),
    "helicopter": ("Helicopter",),
    "hen": ("Cluck", "Chicken, rooster", "Fowl"),
    "horse": ("Horse", "Clip-clop", "Neigh, whinny"),
    "insects": ("Insect", "Fly, housefly", "Bee, wasp, etc.", "Buzz", "Mosquito"),
    "keyboard_typing": ("Typing", "Computer keyboard", "Typewriter"),
    "laughing": ("Laughter", "Baby laughter", "Giggle", "Snicker", "Belly laugh", "Chuckle, chortle"),
    "mouse_click": (),
    "music": ("Music", "Musical instrument"),
    "owl": ("Owl", "Hoot"),
    "pig": ("Pig", "Oink"),
    "pouring_water": ("Water tap, faucet", "Pour", "Sink (filling or washing)", "Fill (with liquid)"),
    "rain": ("Rain", "Raindrop", "Rain on surface"),
    "rooster": ("Crowing, cock-a-doodle-doo",),
    "sea_waves": ("Ocean", "Waves, surf"),
    "sheep": ("Sheep", "Goat", "Bleat"),
    "siren": (
        "Siren",
        "Civil defense siren",
        "Police car (siren)",
        "Ambulance (siren)",
        "Fire engine, fire truck (siren)",
    ),
    "sneezing": ("Sneeze",),
    "snoring": ("Snoring", "Snort"),
    "speech": (
        "Speech",
        "Child speech, kid speaking",
        "Conversation",
        "Narration, monologue",
    ),
    "thunderstorm": ("Thunderstorm", "Thunder"),
    "toilet_flush": ("Toilet flush",),
    "train": ("Train", "Rail transport", "Railroad car, train wagon", "Train wheels squealing", "Clickety-clack"),
    "vacuum_cleaner": ("Vacuum cleaner",),
    "washing_machine": (),
    "water_drops": ("Drip", "Plop"),
    "wind": ("Wind", "Wind noise (microphone)"),
}
"""The AudioSet classes that each of our labels is; the largest of their scores counts. AudioSet lacks three of ours."""


def read_names(class_map: Path) -> list[str]:
    """Display names of a network's outputs, in order, from the list that comes with it.

    Raises:
        ConfigError: There is no such list.
    """
    try:
        with class_map.open(newline="", encoding="utf-8") as file:
            return [row["display_name"] for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected a list of AudioSet's classes with display_name in {class_map}: {error}") from error


class AudioSetMap:
    """From a network's scores of AudioSet classes to scores of ours.

    Args:
        names: Display names of its outputs, in order.
        labels: Ours. Those that ``classes`` does not know score 0.
        classes: The AudioSet classes of each label.

    Raises:
        ConfigError: A class that makes one of ours is not among ``names``.
    """

    def __init__(
        self, names: Sequence[str], labels: Sequence[str], classes: Mapping[str, Sequence[str]] = AUDIOSET
    ) -> None:
        places = {name: place for place, name in enumerate(names)}
        wanted = [classes.get(label, ()) for label in labels]
        if missing := sorted({name for of_label in wanted for name in of_label} - set(places)):
            raise ConfigError(f"expected a network of AudioSet's classes, but its list lacks {', '.join(missing)}")
        self._places = [[places[name] for name in of_label] for of_label in wanted]
        self.known = tuple(label for label, of_label in zip(labels, wanted, strict=True) if of_label)
        """The labels that AudioSet has."""

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores ``[..., N]`` of the network to scores ``[..., C]`` of our labels."""
        mapped = np.zeros((*scores.shape[:-1], len(self._places)), np.float32)
        for column, of_label in enumerate(self._places):
            if of_label:
                mapped[..., column] = scores[..., of_label].max(axis=-1)
        return mapped
