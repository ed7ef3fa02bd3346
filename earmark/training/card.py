"""The card of a bundle: what people should know before they trust it."""

from earmark.contracts.bundle import BundleSpec
from earmark.training.devset import N_EMPTY, N_MADE, N_SCENES
from earmark.training.model import Cost
from earmark.training.report import Report

_CARD = """\
# {name} {version}

{description}

It is a causal CRNN: 64 log-mel bands every 20 ms, five 3x3 convolutions, a GRU, and one score a class every
{score_ms:.0f} ms. A score has heard nothing after its own last sample. This file was written by `earmark.training`.

## Classes

{classes}

They are the classes of ESC-50, as broad as its clips, and `speech`.

## Quality

On the dev split, which nothing was trained on, with the exported step streamed from fresh state:

| figure | value |
|---|---|
{figures}

- `esc50_dev_accuracy`: the class with the largest score of a 5 s clip is the right one, of all {n_labels} classes
  (human: 0.813 on all of ESC-50). `speech` clips are not counted. `esc50_dev_top5`: it is among the five largest.
- `esc50_dev_found`: the right class reaches 0.5 at some time.
- `scene_segment_*`: one-second segments of {n_scenes} mixed scenes (1 to 4 events, SNR -5 to 25 dB, a third with a
  room response; the recipe of the training scenes, but dev sounds and backgrounds) at the thresholds of `bundle.json`,
  all classes together.
- `made_sounds_found`: of the {n_made} x 8 sounds that the project makes itself, in scenes like the demo's, whose class
  is on while they sound.
- `meeting*_speech_recall`: one-second segments with speech in a real meeting (AMI), far and quiet, in which `speech`
  is on. Close single words are found far more often.
- `background_false_alarms_per_hour`: onsets at the same thresholds, all {n_labels} classes together, raw scores without
  smoothing, on {n_empty} scenes with background only: a boat, dishes being washed (whose clinks sound like some
  classes), and synthetic noise.

All scores were moved by one number so that 0.5 and 0.3 suit such scenes best (segment F score with beta 0.5, which
makes a false alarm worse than a miss, on other dev scenes).

The dev clips also chose the recipe, so these figures are a little kinder than new audio will be.

Share of a class's dev clips that were named right, worst first: {by_label}.

Most frequent confusions (truth as answer, clips): {confusions}.

## Cost

{parameters:,} parameters, {mflop:.1f} MFLOP a second of audio (1 MAC = 2 FLOP; the network without the front end),
{state_kib:.1f} KiB of state a stream, {size_mb:.2f} MB on disk. It needs no GPU.

## Data and licences

{data}. Licences: {licences}. CC BY asks for credit: `CREDITS.csv` names the author and source of every
recording that was trained on. No audio is part of this bundle.

## What it must not be used for

- Not for safety: not as a smoke, fire, intruder or emergency alarm, nor to decide that someone needs no help. It misses
  events, and it reports some that are not there.
- Not to identify, follow or judge people. `speech` says that someone speaks, not who or what.
- Not as evidence. Scores are not calibrated for your microphone, room and sounds: measure there first, and set
  thresholds for it.
- About 20 clips a class is little. A class may have learnt its recordings' habits instead of its sound.
"""


def card(spec: BundleSpec, report: Report, cost: Cost, size: int) -> str:
    """The text of ``CARD.md``.

    Args:
        spec: Of the bundle.
        report: What was measured.
        cost: Of the model.
        size: Bytes of the ONNX file.
    """
    from_worst = sorted(report.by_label.items(), key=lambda item: item[1])
    return _CARD.format(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        score_ms=1000 * spec.output_hop / spec.sample_rate_hz,
        classes=", ".join(f"`{label}`" for label in spec.labels),
        n_labels=len(spec.labels),
        n_scenes=N_SCENES,
        n_empty=N_EMPTY,
        n_made=N_MADE,
        figures="\n".join(f"| `{name}` | {value:.4g} |" for name, value in report.figures.items()),
        by_label=", ".join(f"`{label}` {share:.2f}" for label, share in from_worst),
        confusions=", ".join(f"`{truth}` as `{answer}` {count}" for truth, answer, count in report.confusions),
        parameters=cost.parameters,
        mflop=cost.mflop_per_s,
        state_kib=cost.state_bytes / 1024,
        size_mb=size / 1e6,
        data=spec.training.data,
        licences=", ".join(f"{licence} {count}" for licence, count in spec.training.licences.items()),
    )
