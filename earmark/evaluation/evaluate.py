"""``earmark evaluate``: scores labelled audio, measures, and writes the report."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import (
    TRUTH_FILE,
    Annotations,
    LabelledClip,
    LabelledEvent,
    read_clips,
    read_ignored,
    read_tsv,
    write_tsv,
)
from earmark.evaluation.measures import Evaluation, measure_clips, measure_scenes
from earmark.evaluation.peers import Peer, score_peer
from earmark.evaluation.real import RealRecording, read_real
from earmark.evaluation.real_comparison import compare_real
from earmark.evaluation.real_report import write_real_tsv
from earmark.evaluation.report import write_report
from earmark.evaluation.scoring import ScoredFiles, score_files

CLIPS_INDEX = "index.csv"
EVENTS_FILE = "events.tsv"
REAL_FILE = "real.tsv"
_AT_ONCE = 64


@dataclass(frozen=True)
class LabelledAudio:
    """What is to be measured on.

    Attributes:
        scenes: Folder of the scenes, and their true events.
        clips: Folder of the clips, and their classes.
        real: Folder of the real recordings, and the list of them.
        ignored: Extents in the scenes that count neither as found nor as missed.
    """

    scenes: tuple[Path, Annotations] | None
    clips: tuple[Path, list[LabelledClip]] | None
    real: tuple[Path, list[RealRecording]] | None = None
    ignored: Annotations = field(default_factory=Annotations)

    @classmethod
    def find(
        cls, scenes: Path | None, clips: Path | None, split: str, real: Path | None = None, *, table: str = TRUTH_FILE
    ) -> "LabelledAudio":
        """Read what is true, and look whether all files are there.

        Args:
            scenes: A folder with ``table`` and the files that it names, and perhaps ``ignored.tsv``.
            clips: A folder with ``index.csv`` and the files that it names.
            split: Which of those clips.
            real: A list of real recordings.
            table: Name of the scenes' table of true events.

        Raises:
            ConfigError: None is given, a table cannot be used, a file is missing, or two have one name.
        """
        if scenes is None and clips is None and real is None:
            raise ConfigError("expected at least one of --scenes DIR, --clips DIR and --real LIST, got none")
        truth = None if scenes is None else (scenes, read_tsv(scenes / table))
        labelled = None if clips is None else (clips, read_clips(clips / CLIPS_INDEX, split))
        if truth is not None and not truth[1]:
            raise ConfigError(f"{truth[0] / table}: expected a row for each scene, got none")
        if truth is not None:
            _check_files(truth[0], table, list(truth[1]))
        if labelled is not None:
            _check_files(labelled[0], CLIPS_INDEX, [clip.file for clip in labelled[1]])
        ignored = {} if truth is None else read_ignored(truth[0], truth[1])
        audio = cls(truth, labelled, None if real is None else (real.parent, read_real(real)), ignored)
        _check_names(audio)
        return audio

    @property
    def n_files(self) -> int:
        """How many files there are."""
        return sum(map(len, self.names))

    @property
    def names(self) -> list[list[str]]:
        """The files of each part that there is."""
        return [
            *([] if self.scenes is None else [list(self.scenes[1])]),
            *([] if self.clips is None else [[clip.file for clip in self.clips[1]]]),
            *([] if self.real is None else [[one.file for one in self.real[1]]]),
        ]


@dataclass(frozen=True)
class Progress:
    """Whom to tell how far it is: ``heard`` of seconds of audio, ``file_done`` of each file."""

    heard: Callable[[float], None] = lambda _: None
    file_done: Callable[[], None] = lambda: None


def evaluate(
    bundle: Bundle,
    audio: LabelledAudio,
    out: Path,
    *,
    command: str,
    peers: Sequence[Peer] = (),
    jobs: int = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a bundle and write ``report.md``, ``report.html``, ``figures.json``, ``events.tsv`` and plots.

    With real recordings ``real.tsv`` too, which has a row for each recording and detector.

    Args:
        bundle: What is measured.
        audio: On what.
        out: The folder to write in; made where there is none.
        command: How to do it again, for the report.
        peers: Other detectors, measured on the real recordings beside the bundle.
        jobs: Processes that score with the bundle.
        progress: Whom to tell how far it is.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: The audio does not fit its labels, or ``out`` cannot be written.
        SourceError: A file cannot be read.
    """
    _make_folder(out)
    progress = progress or Progress()
    score = partial(_score, bundle, jobs=jobs, progress=progress)
    scenes = clips = real = None
    if audio.scenes is not None:
        folder, truth = audio.scenes
        scenes = measure_scenes(truth, score(folder, list(truth)), bundle.spec, audio.ignored)
    if audio.clips is not None:
        folder, labelled = audio.clips
        clips = measure_clips(labelled, score(folder, [clip.file for clip in labelled]), bundle.spec)
    if audio.real is not None:
        folder, recordings = audio.real
        names = [one.file for one in recordings]
        theirs = [(peer, _score_peer(peer, folder, names, progress)) for peer in peers]
        real = compare_real(recordings, bundle, score(folder, names), theirs)
    evaluation = Evaluation(bundle, command, scenes, clips, real)
    detected: dict[str, Sequence[LabelledEvent]] = {}
    for measured in (scenes, clips, real):
        detected |= {} if measured is None else measured.detected
    try:
        write_report(out, evaluation)
        write_tsv(out / EVENTS_FILE, detected)
        if real is not None:
            write_real_tsv(out / REAL_FILE, real)
    except OSError as error:
        raise ConfigError(f"--out {out}: expected a folder to write in, got: {error.strerror}") from error
    return evaluation


def _score(bundle: Bundle, folder: Path, names: Sequence[str], *, jobs: int, progress: Progress) -> ScoredFiles:
    """All files' scores; by several processes if ``jobs`` is more than 1."""
    parts = [list(part) for part in _batched(names, _AT_ONCE)]
    scored: list[ScoredFiles] = []
    for part in _score_parts(bundle, folder, parts, jobs, progress):
        scored.append(part)
        for _ in part.scores:
            progress.file_done()
    return ScoredFiles(
        scored[0].labels,
        scored[0].frame_s,
        {name: scores for part in scored for name, scores in part.scores.items()},
        {name: duration_s for part in scored for name, duration_s in part.durations_s.items()},
    )


def _score_peer(peer: Peer, folder: Path, names: Sequence[str], progress: Progress) -> ScoredFiles:
    def file_done(heard_s: float) -> None:
        progress.heard(heard_s)
        progress.file_done()

    return score_peer(peer, folder, names, on_file=file_done)


def _score_parts(
    bundle: Bundle, folder: Path, parts: Sequence[Sequence[str]], jobs: int, progress: Progress
) -> Iterator[ScoredFiles]:
    if jobs == 1:
        for part in parts:
            yield score_files(bundle, folder, part, on_audio=progress.heard)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for scored in pool.map(partial(_score_alone, bundle, folder), parts):
            progress.heard(sum(scored.durations_s.values()))
            yield scored


def _score_alone(bundle: Bundle, folder: Path, names: Sequence[str]) -> ScoredFiles:
    return score_files(bundle, folder, names, on_audio=lambda _: None)


def _batched(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), size):
        yield names[first : first + size]


def _check_files(folder: Path, table: str, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(f"{folder / table}: expected the files that it names, got no {missing[0]!r}{more}")


def _check_names(audio: LabelledAudio) -> None:
    """``events.tsv`` tells files by their names, so no two parts may share one."""
    seen: set[str] = set()
    for names in audio.names:
        if both := seen.intersection(names):
            raise ConfigError(
                f"expected scenes, clips and real recordings of different names, which {EVENTS_FILE} tells them by, "
                f"got two called {min(both)} ({len(both)} in all); measure them one after the other"
            )
        seen.update(names)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: expected a folder to write in, got: {error.strerror}") from error
