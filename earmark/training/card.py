"""The card of a bundle: what people should know before they trust it."""

import math

from earmark.contracts.bundle import BundleSpec
from earmark.contracts.presets import DEFAULT_PRESET, PRESETS, Preset
from earmark.training.ensemble import n_networks
from earmark.training.model import Cost
from earmark.training.release import N_COUNTED, N_MADE, N_MEASURED, N_TUNED, SCENE_S, Quality

_CARD = """\
# {name} {version}

{description}

It is {kind}: {n_mels} log-mel bands every {hop_ms:g} ms, {n_convs} 3x3 convolutions, a GRU, and one score a class every
{score_ms:.0f} ms, which tells of the sound {delay_ms:.0f} ms before and has heard nothing after its own last sample.
This file was written by `earmark train`.

## Classes

{classes}

## Quality

On the dev split, which nothing was trained on, with the exported step streamed from fresh state and the smoothing of
`bundle.json`:

| figure | value |
|---|---|
{figures}

- `clip_*`: the labelled clips, by the mean of each class's logits over a clip: the largest of all {n_labels} classes is
  the right one, it is among the five largest, mean average precision, LWLRAP. `speech`
  clips are not counted.
- `scene_*`: {n_measured} scenes of {scene_s:g} s with 1 to 6 events each, 5 dB below to 25 dB above a background, all
  classes together. An event counts if its onset is right within 200 ms, and, for `event`, its offset within 200 ms or
  20 % of its length; segments are of 1 s. PSDS1 and PSDS2 as in DCASE.
- `false_alarms_per_hour_and_class`: events in scenes like those that do not have the class, {counted_h:g} h;
  `background_*`: with background only.
- `meeting_speech_segment_f1`: real meetings (AMI), far and quiet.

The smoothing was chosen on {tuned_h:g} h of other scenes with the same sounds, {n_made} of the sounds that the project
makes itself, and the real recordings below, if there are some. The dev clips also chose the recipe. So these figures
are kinder than new audio will be.

## Presets

{presets}

A class's share of dev clips named right, its event F1 and false alarms an hour in scenes, worst first:

| class | clips | event F1 | false alarms/h |
|---|---|---|---|
{by_label}

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
- Not as evidence. Scores are not calibrated for your microphone, room and sounds: measure there first, and choose a
  preset or set thresholds for it.
- About 20 clips a class is little, and few classes have many more. A class may have learnt its recordings' habits
  instead of its sound.
"""


_N_CONFUSIONS = 12


def card(spec: BundleSpec, quality: Quality, cost: Cost, size: int) -> str:
    """The text of ``CARD.md``.

    Args:
        spec: Of the bundle.
        quality: What was measured.
        cost: Of the model.
        size: Bytes of the ONNX file.
    """
    n = n_networks(spec.states)
    return _CARD.format(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        score_ms=1000 * spec.output_hop / spec.sample_rate_hz,
        delay_ms=1000 * spec.output_hop * spec.delay_frames / spec.sample_rate_hz,
        classes=", ".join(f"`{label}`" for label in spec.labels),
        n_labels=len(spec.labels),
        n_measured=N_MEASURED,
        scene_s=SCENE_S,
        counted_h=N_COUNTED * SCENE_S / 3600,
        tuned_h=N_TUNED * SCENE_S / 3600,
        n_made=N_MADE,
        presets=_presets(spec, quality),
        figures="\n".join(f"| `{name}` | {value:.4g} |" for name, value in spec.quality.items()),
        by_label="\n".join(_rows(spec, quality)),
        confusions=", ".join(
            f"`{truth}` as `{answer}` {n}" for truth, answer, n in quality.main_clips.confused()[:_N_CONFUSIONS]
        ),
        kind="a causal CRNN" if n == 1 else f"the mean of {n} causal CRNNs' logits",
        n_mels=spec.front_end.n_mels,
        hop_ms=1000 * spec.front_end.hop_length / spec.sample_rate_hz,
        n_convs=len(spec.states) // n - 1,
        parameters=cost.parameters,
        mflop=cost.mflop_per_s,
        state_kib=spec.state_bytes / 1024,
        size_mb=size / 1e6,
        data=spec.training.data,
        licences=", ".join(f"{licence} {count}" for licence, count in spec.training.licences.items()),
    )


def _presets(spec: BundleSpec, quality: Quality) -> str:
    if not quality.presets:
        return f"`engine.preset` chooses one of {', '.join(PRESETS)}. No real recordings were there to measure them on."
    recordings = next(iter(quality.presets.values()))
    hours = recordings.total.duration_s / 3600
    rows = "\n".join(_preset_row(spec, quality, preset) for preset in PRESETS)
    return f"""\
`engine.preset` chooses one; `{DEFAULT_PRESET}` decides without it. On {len(recordings.recordings)} real recordings of
{hours:.1f} h with {recordings.total.asked} named sounds, on which the smoothing was chosen;
in brackets on each fifth of them with the smoothing that the other four chose. The budget was made to fit these fifths,
so new recordings will be worse:

| preset | named sounds found | wrong events/h, all classes | time wrong |
|---|---|---|---|
{rows}"""


def _preset_row(spec: BundleSpec, quality: Quality, preset: Preset) -> str:
    total, figures = quality.presets[preset].total, spec.quality
    found, per_hour, share = (
        figures[f"{preset}_elsewhere_{name}"] for name in ("found_share", "wrong_per_hour", "wrong_share")
    )
    return (
        f"| `{preset}` | {100 * total.found_share:.0f} % ({100 * found:.0f} %) | "
        f"{total.wrong_per_hour:.1f} ({per_hour:.1f}) | {100 * total.wrong_share:.2f} % ({100 * share:.2f} %) |"
    )


def _rows(spec: BundleSpec, quality: Quality) -> list[str]:
    named_right = _named_right(spec, quality)
    f1 = {label: counts.f1 for label, counts in quality.scenes.event.by_label.items()}
    alarms = quality.counted.false_alarms
    from_worst = sorted(spec.labels, key=lambda label: (named_right.get(label, 0.0), f1.get(label, 0.0)))
    return [
        f"| `{label}` | {_share(named_right.get(label))} | {_share(f1.get(label))} | {_rate(alarms[label].per_hour)} |"
        for label in from_worst
    ]


def _named_right(spec: BundleSpec, quality: Quality) -> dict[str, float]:
    table = quality.main_clips.confusions
    return {
        label: float(table[place, place] / table[place].sum())
        for place, label in enumerate(spec.labels)
        if table[place].sum()
    }


def _share(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _rate(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
