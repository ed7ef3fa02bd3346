"""The AudioSet classes of our labels, against the class lists of the peers beside the checkout."""

from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import ConfigError
from earmark.evaluation.audioset import AUDIOSET, AudioSetMap, read_names
from earmark.evaluation.real import LISTENED_FOR

CLASS_LISTS = {"yamnet": "yamnet/yamnet_class_map.csv", "mn04": "mn04/class_labels_indices.csv"}


def test_every_label_of_the_shipped_bundle_has_an_entry():
    assert set(load_bundle("urban").spec.labels) <= set(AUDIOSET)
    assert set(AUDIOSET) >= LISTENED_FOR


def test_no_class_belongs_to_two_labels():
    classes = [name for names in AUDIOSET.values() for name in names]
    assert len(classes) == len(set(classes))


@pytest.mark.data
@pytest.mark.parametrize("peer", CLASS_LISTS)
def test_every_class_is_in_the_peers_list(peer: str, data_folder: Path):
    names = read_names(data_folder.parent / "peers" / CLASS_LISTS[peer])
    assert AudioSetMap(names, tuple(AUDIOSET)).known == tuple(label for label in AUDIOSET if AUDIOSET[label])


def test_classes_may_be_others():
    names = ["Rain", "Coin (dropping)"]
    to_ours = AudioSetMap(names, ["mouse_click", "rain"], {"mouse_click": ("Coin (dropping)",)})
    assert to_ours.known == ("mouse_click",)
    assert to_ours(np.array([0.25, 0.75], np.float32)).tolist() == [0.75, 0.0]
    with pytest.raises(ConfigError, match=r"its list lacks Coin \(dropping\)"):
        AudioSetMap(["Rain"], ["mouse_click"], {"mouse_click": ("Coin (dropping)",)})
