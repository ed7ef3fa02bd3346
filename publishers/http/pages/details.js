// One event: its numbers, and the scores around it while they are remembered.

import { ask } from "./api.js";
import { brush, byId, colour, colourOf, lengthOf, levelOf, make, say, timeOf, wordsOf } from "./dom.js";
import { drawScore, drawThreshold } from "./picture.js";

const AROUND_S = 3;
const LONGEST_S = 60;
const REASONS = { end: "the recording ended", gap: "audio was missing", interrupted: "its source went away", model_changed: "another model took over" };

/** Whose scores made it: of a zone's event, the first stream that heard it. */
const sourceOf = (sound) => sound.by?.[0] ?? sound.stream;

export class Details {
  #context;
  #dialog = byId("event");
  #id = null;

  /** `context`: `sounds`, `labels` (names in the scores' order), `groups` (names), `threshold(label, stream)`, `trace(stream)`. */
  constructor(context) {
    this.#context = context;
    this.#dialog.addEventListener("close", () => {
      this.#id = null;
      history.replaceState(null, "", location.pathname + location.search);
    });
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close());
    addEventListener("hashchange", () => this.fromAddress());
  }

  /** Opens the event that the address names. */
  async fromAddress() {
    const id = new URLSearchParams(location.hash.slice(1)).get("event");
    if (!id || id === this.#id) return;
    try {
      const { onset, offset } = await ask(`events/${encodeURIComponent(id)}`);
      this.#context.sounds.add([onset, offset].filter(Boolean));
      this.show(this.#context.sounds.get(id));
    } catch {
      history.replaceState(null, "", location.pathname + location.search);
    }
  }

  show(sound) {
    this.#id = sound.id;
    this.#fill(sound);
    history.replaceState(null, "", `#event=${sound.id}`);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#draw(sound);
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
    const trace = this.#context.trace(sourceOf(sound));
    const label = this.#context.labels.indexOf(sound.label);
    const canvas = byId("event-scores");
    const onset = Math.round(sound.on / 1000 / (trace?.hop ?? 1));
    const offset = sound.off === null ? trace?.end : Math.round(sound.off / 1000 / (trace?.hop ?? 1));
    canvas.hidden = !trace || label < 0 || !trace.remembers(onset, offset);
    say(byId("event-note"), !canvas.hidden ? "" : this.#context.groups.has(sound.label)
      ? "A group of sounds has no scores of its own to show; its sounds have."
      : "Its scores are not at hand: the page remembers two minutes of the streams that were in sight.");
    if (canvas.hidden) return;
    const around = Math.round(AROUND_S / trace.hop);
    const from = onset - around;
    const to = Math.max(from + 2, Math.min(trace.end, offset + around, from + Math.round(LONGEST_S / trace.hop)));
    const { context, width, height } = brush(canvas);
    const xOf = (row) => (width * (row - from)) / (to - from);
    context.fillStyle = colourOf(sound.label);
    context.globalAlpha = 0.14;
    context.fillRect(xOf(onset), 0, xOf(Math.min(offset, to)) - xOf(onset), height);
    context.globalAlpha = 1;
    drawThreshold(context, width, height, this.#context.threshold(sound.label, sourceOf(sound)), colour("soft"));
    drawScore(context, width, height, trace, label, from, to, colourOf(sound.label));
  }
}
