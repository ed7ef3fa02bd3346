"""Public sets of clips as they are downloaded: ESC-50, UrbanSound8K, FSDKaggle.

Every reader takes the set's table, or the folder that holds its tables, and the folder that file names count from.
"""

import re
from pathlib import Path

from earmark.training.recording import Found, Recording, Reject
from earmark.training.splits import group_of
from earmark.training.tables import Row, below, columns_of, read_table

_ESC50_LICENCE, _ESC10_LICENCE = "CC BY-NC 3.0", "CC BY 3.0"
"""Of the whole sets; LICENSE beside them names each clip's own."""
_URBANSOUND_LICENCE = "CC BY-NC 3.0"
"""Of the whole set; its tables do not name a slice's own."""
_MISNAMED = frozenset({"f76181c4.wav", "77b925c2.wav", "6a1f682a.wav", "c7db12aa.wav", "7752cc8a.wav"})
"""Curated clips of FSDKaggle2019 whose labels its own README calls wrong."""

_ESC50_CREDIT = re.compile(r"^- \[(.+?)\.ogg\]:.*\bby (.+) \[(.+)\]\s*$")


def read_esc50(table: Path, base: Path) -> Found:
    """ESC-50: ``meta/esc50.csv`` and ``audio/``; its folds, and each clip's licence and author from ``LICENSE``."""
    root = table.parent.parent
    credit = _esc50_credits(root / "LICENSE")
    rows = read_table(table)
    found = Found(rejects=list(rows.rejects))
    for row in rows.rows:
        whole = _ESC10_LICENCE if row["esc10"] == "True" else _ESC50_LICENCE
        author, licence = credit.get(f"{row['fold']}-{row['src_file']}-{row['take']}", ("", whole))
        source = f"freesound {row['src_file']} (ESC-50)"
        file = below(base, root / "audio" / row["filename"])
        licence = row["licence"] or row["license"] or licence
        found.add(_clip(file, row["category"], source, licence, author=author, fold=row["fold"]), row.where)
    return found


def _esc50_credits(path: Path) -> dict[str, tuple[str, str]]:
    """Author and licence by fold, source and take, as in ``1-100032-A``."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    matches = [match for line in lines if (match := _ESC50_CREDIT.match(line))]
    return {match[1]: (match[2], match[3]) for match in matches}


def read_urbansound(table: Path, base: Path) -> Found:
    """UrbanSound8K: ``metadata/UrbanSound8K.csv`` and ``audio/fold1/`` to ``audio/fold10/``."""
    root = table.parent.parent
    rows = read_table(table)
    found = Found(rejects=list(rows.rejects))
    for row in rows.rows:
        file = below(base, root / "audio" / f"fold{row['fold']}" / row["slice_file_name"])
        source = f"freesound {row['fsID']} (UrbanSound8K)"
        found.add(_clip(file, row["class"], source, _URBANSOUND_LICENCE, fold=row["fold"]), row.where)
    return found


def freesound_tables(folder: Path) -> list[Path]:
    """The tables of an FSDKaggle set: those with names and labels; of two with one name, the one with licences."""
    paths = [*folder.glob("*.csv"), *folder.glob("*meta/*.csv")]
    labelled = [path for path in paths if {"fname"} < set(columns_of(path)) & {"fname", "labels", "label"}]
    best = {_part(path): path for path in sorted(labelled, key=lambda path: "post_competition" in path.name)}
    return sorted(best.values())


def read_freesound(path: Path, base: Path) -> Found:
    """FSDKaggle2018 and 2019: ``fname,labels`` for the parts ``train_curated``, ``train_noisy``, ``test`` ...

    A part's audio is in ``train_curated/`` or ``FSDKaggle2019.audio_train_curated/``. Its name is the fold. Noisy
    labels are never ``dev``.
    """
    found = Found(several=True)
    for table in [path] if path.is_file() else freesound_tables(path):
        part = _part(table)
        folder = _part_folder(table, part)
        rows = read_table(table)
        found.rejects.extend(rows.rejects)
        for row in rows.rows:
            _add_freesound(found, row, part, below(base, folder / row["fname"]))
    return found


def _add_freesound(found: Found, row: Row, part: str, file: str) -> None:
    if row["fname"] in _MISNAMED:
        found.rejects.append(Reject(row.where, file, "the makers of the set know that its label is wrong"))
        return
    identity = row["freesound_id"]
    source = f"freesound {identity} (FSDKaggle)" if identity else row["flickr_video_URL"]
    split = {"test": "test", "train_noisy": "train"}.get(part, "")
    for label in (row["labels"] or row["label"]).split(","):
        found.add(_clip(file, label.strip(), source, row["license"], fold=part, split=split), row.where)


def _part(table: Path) -> str:
    return re.sub(r"_post_competition.*$", "", table.stem)


def _part_folder(table: Path, part: str) -> Path:
    places = (table.parent, table.parent.parent)
    folders = [folder for place in places for folder in (place / part, *sorted(place.glob(f"*audio_{part}")))]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _clip(
    file: str, label: str, source: str, licence: str, *, author: str = "", fold: str = "", split: str = ""
) -> Recording:
    group = group_of(file, source)
    return Recording(file, "event", split, label, 0.0, (), licence, author, source, fold=fold, group=group)
