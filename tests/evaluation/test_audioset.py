"""The AudioSet classes of our labels, against the class maps of the peers beside the checkout."""

from pathlib import Path

import pytest

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import ConfigError
from earmark.evaluation.audioset import AUDIOSET, class_places, in_audioset

CLASS_MAPS = {"yamnet": "yamnet/yamnet_class_map.csv", "mn04": "mn04/class_labels_indices.csv"}


def test_every_label_of_the_shipped_bundle_has_an_entry():
    assert set(load_bundle("urban").spec.labels) <= set(AUDIOSET)


def test_no_class_belongs_to_two_labels():
    classes = [name for names in AUDIOSET.values() for name in names]
    assert len(classes) == len(set(classes))


@pytest.mark.data
@pytest.mark.parametrize("peer", CLASS_MAPS)
def test_every_class_is_in_the_peers_class_map(peer: str, data_folder: Path):
    labels = in_audioset(AUDIOSET)
    places = class_places(data_folder.parent / "peers" / CLASS_MAPS[peer], labels)
    assert [len(each) for each in places] == [len(AUDIOSET[label]) for label in labels]


@pytest.mark.data
@pytest.mark.parametrize("peer", CLASS_MAPS)
def test_places_are_those_of_the_names(peer: str, data_folder: Path):
    class_map = data_folder.parent / "peers" / CLASS_MAPS[peer]
    ((place,),) = class_places(class_map, ["vacuum_cleaner"])
    (line,) = [line for line in class_map.read_text().splitlines() if "Vacuum cleaner" in line]
    assert line.startswith(f"{place},")


def test_labels_that_audioset_lacks_are_left_out():
    assert in_audioset(["rain", "can_opening", "music_of_mine", "dog"]) == ("rain", "dog")


def test_bad_class_maps_and_labels_are_named(tmp_path: Path):
    path = tmp_path / "map.csv"
    with pytest.raises(ConfigError, match=r"map\.csv: expected a table of AudioSet classes"):
        class_places(path, ["rain"])
    path.write_text("index,name\n0,Rain\n")
    with pytest.raises(ConfigError, match="with index and display_name"):
        class_places(path, ["rain"])
    path.write_text("index,display_name\n0,Rain\n")
    with pytest.raises(ConfigError, match=r"'rain', found no \['Raindrop', 'Rain on surface'\]"):
        class_places(path, ["rain"])
    with pytest.raises(ConfigError, match="for the label 'washing_machine', got none"):
        class_places(path, ["washing_machine"])
