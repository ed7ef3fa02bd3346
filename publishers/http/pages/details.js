// One event: its numbers, the scores around it, and its sound.

import { ask } from "./api.js";
import { brush, byId, colour, colourOf, lengthOf, levelOf, make, say, timeOf, wordsOf } from "./dom.js";
import { drawScore, drawThreshold } from "./picture.js";
import { KeptScores } from "./store.js";

const AROUND_S = 3;
const LONGEST_S = 60;
const SOON_MS = 60_000;
const RETRY_MS = 2000;
const NO_CLIP = {
  forbidden: "Its sound was not kept: a sound that must not be kept may be heard in it.",
  unscored: "Its sound was not kept: nobody knows whether a sound that must not be kept is heard in it.",
  gone: "Its sound was no longer in memory.",
};
const REASONS = { end: "the recording ended", gap: "audio was missing", interrupted: "its source went away", model_changed: "another model took over" };

/** Whose scores made it: of a zone's event, the first stream that heard it. */
const sourceOf = (sound) => sound.by?.[0] ?? sound.stream;

/** The event that the address names. */
const addressed = () => new URLSearchParams(location.hash.slice(1)).get("event");
const leaveAddress = () => history.replaceState(null, "", location.pathname + location.search);

export class Details {
  #context;
  #dialog = byId("event");
  #player = byId("event-clip");
  #id = null;
  #kept = null;

  /** `context`: `sounds`, `labels` (names in the scores' order), `groups` (names), `threshold(label, stream)`, `tried(label)`,
   * `trace(stream)`. */
  constructor(context) {
    this.#context = context;
    this.#dialog.addEventListener("close", () => {
      if (this.#dialog.open) return; // with another event, since
      if (addressed() === this.#id) leaveAddress();
      this.#id = null;
      this.#forget();
    });
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close());
    addEventListener("hashchange", () => this.fromAddress());
  }

  /** Opens the event that the address names. */
  async fromAddress() {
    const id = addressed();
    if (!id || id === this.#id) return;
    try {
      const { onset, offset } = await ask(`events/${encodeURIComponent(id)}`);
      if (addressed() !== id) return;
      this.#context.sounds.add([onset, offset].filter(Boolean));
      this.show(this.#context.sounds.get(id));
    } catch {
      if (addressed() === id) leaveAddress();
    }
  }

  show(sound) {
    this.#id = sound.id;
    this.#forget();
    this.#fill(sound);
    history.replaceState(null, "", `#event=${sound.id}`);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#draw(sound);
    this.#load(sound.id);
  }

  #forget() {
    this.#kept = null;
    this.#player.hidden = true;
    this.#player.removeAttribute("src");
    this.#player.load();
    say(byId("event-clip-note"), "");
  }

  /** What the server keeps of an event; of a fresh one it may not be there yet. */
  async #load(id) {
    try {
      const { has_scores: hasScores, has_clip: hasClip } = await ask(`events/${id}`);
      const kept = hasScores ? await ask(`events/${id}/scores`) : null;
      if (id !== this.#id) return;
      const sound = this.#context.sounds.get(id);
      if (kept) this.#tell(sound, kept, hasClip);
      else if (sound && (sound.off === null || Date.now() - sound.off < SOON_MS)) {
        setTimeout(() => id === this.#id && this.#load(id), RETRY_MS);
      }
    } catch {
      // The numbers are there all the same.
    }
  }

  #tell(sound, kept, hasClip) {
    this.#kept = new KeptScores(kept);
    if (sound) this.#draw(sound);
    this.#player.hidden = !hasClip;
    if (hasClip) this.#player.src = `api/v1/events/${kept.event_id}/clip`;
    say(byId("event-clip-note"), hasClip ? lengthsOf(kept) : NO_CLIP[kept.no_clip] ?? "");
  }

  /** The sound that is shown may have ended meanwhile. */
  refresh() {
    const sound = this.#id && this.#context.sounds.get(this.#id);
    if (!sound || !this.#dialog.open) return;
    this.#fill(sound);
    this.#draw(sound);
  }

  #fill(sound) {
    say(byId("event-title"), wordsOf(sound.label));
    const length = sound.off === null ? "going on" : `lasted ${lengthOf(sound.off - sound.on)}`;
    say(byId("event-text"), `On ${sound.stream}, ${new Date(sound.on).toLocaleDateString()} at ${timeOf(sound.on)}, ${length}.`);
    const numbers = {
      "Highest score": sound.peak.toFixed(3), "Mean score": sound.mean.toFixed(3), Level: levelOf(sound.level),
      Threshold: this.#context.threshold(sound.label, sourceOf(sound)).toFixed(2),
      ...(sound.by ? { "Heard by": sound.by.join(", ") } : {}),
      ...(sound.off === null ? {} : { Ended: sound.reason ? `${timeOf(sound.off)}: ${REASONS[sound.reason] ?? sound.reason}` : timeOf(sound.off) }),
      ...(sound.delay === null ? {} : { "Decided after": `${sound.delay.toFixed(1)} ms` }),
      Model: sound.model, Id: sound.id,
    };
    byId("event-numbers").replaceChildren(...Object.entries(numbers).flatMap(([name, value]) => [
      make("dt", { textContent: name }), make("dd", { textContent: value })]));
    byId("event-json").href = `api/v1/events/${sound.id}`;
  }

  #draw(sound) {
    if (this.#kept) {
      this.#drawKept(sound, this.#kept);
      return;
    }
    const trace = this.#context.trace(sourceOf(sound));
    const label = this.#context.labels.indexOf(sound.label);
    const canvas = byId("event-scores");
    const onset = Math.round(sound.on / 1000 / (trace?.hop ?? 1));
    const offset = sound.off === null ? trace?.end : Math.round(sound.off / 1000 / (trace?.hop ?? 1));
    canvas.hidden = !trace || label < 0 || !trace.remembers(onset, offset);
    say(byId("event-note"), !canvas.hidden ? "" : this.#context.groups.has(sound.label)
      ? "A group of sounds has no scores of its own to show; its sounds have."
      : "Its scores are not at hand: the page remembers two minutes of the streams that were in sight, and publishers.clips keeps them for longer.");
    if (canvas.hidden) return;
    const around = Math.round(AROUND_S / trace.hop);
    const from = onset - around;
    const to = Math.max(from + 2, Math.min(trace.end, offset + around, from + Math.round(LONGEST_S / trace.hop)));
    const brushed = this.#drawExtent(canvas, sound, onset, offset, from, to);
    drawScore(brushed.context, brushed.width, brushed.height, trace, label, from, to, colourOf(sound.label));
  }

  #drawKept(sound, kept) {
    const canvas = byId("event-scores");
    canvas.hidden = false;
    const onset = Math.round(sound.on / 1000 / kept.hop);
    const offset = sound.off === null ? kept.end : Math.round(sound.off / 1000 / kept.hop);
    const { context, width, height } = this.#drawExtent(canvas, sound, onset, offset, kept.begin, kept.end);
    const others = kept.labels.filter((name) => name !== sound.label);
    for (const name of [...others, sound.label].filter((each) => kept.labels.includes(each))) {
      context.globalAlpha = name === sound.label ? 1 : 0.5;
      drawScore(context, width, height, kept, kept.labels.indexOf(name), kept.begin, kept.end, colourOf(name));
    }
    context.globalAlpha = 1;
    say(byId("event-note"), `Pale: the loudest other classes, ${others.map(wordsOf).join(", ")}.`);
  }

  /** The event's length and the thresholds: the one in force, and the one that is tried. */
  #drawExtent(canvas, sound, onset, offset, from, to) {
    const { context, width, height } = brush(canvas);
    const xOf = (row) => (width * (Math.min(to, Math.max(from, row)) - from)) / (to - from);
    context.fillStyle = colourOf(sound.label);
    context.globalAlpha = 0.14;
    context.fillRect(xOf(onset), 0, xOf(offset) - xOf(onset), height);
    context.globalAlpha = 1;
    drawThreshold(context, width, height, this.#context.threshold(sound.label, sourceOf(sound)), colour("soft"));
    const tried = this.#context.tried(sound.label);
    if (tried !== null) drawThreshold(context, width, height, tried, colour("hot"));
    return { context, width, height };
  }
}

function lengthsOf({ clip, sample_rate_hz: rate }) {
  if (!clip) return "";
  const missing = clip.missing_samples ? ` ${lengthOf((1000 * clip.missing_samples) / rate)} of it did not come and are silence.` : "";
  return `${lengthOf((1000 * clip.n_samples) / rate)} of its sound.${missing}`;
}
