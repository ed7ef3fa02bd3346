// What if a label's threshold were another: which of the day's sounds would remain?

import { brush, byId, colour, colourOf, say, wordsOf } from "./dom.js";

const BINS = 60;
const PAD = 10;
const TICKS = [0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
const LOWEST = -4.6;
const HIGHEST = 6.9;

/** Scores crowd near 0 and 1; their log-odds do not, so the slider moves in those. */
const oddsOf = (score) => Math.min(HIGHEST, Math.max(LOWEST, Math.log(score / Math.max(1e-9, 1 - score))));
const scoreOf = (odds) => 1 / (1 + Math.exp(-odds));
const shareOf = (score) => (oddsOf(score) - LOWEST) / (HIGHEST - LOWEST);
const told = (score) => score.toFixed(score > 0.95 ? 3 : 2);

export class WhatIf {
  #context;
  #slider = byId("threshold");
  #select = byId("whatif-label");
  #canvas = byId("whatif");
  #isTouched = false;

  /** `context`: `threshold(label)`, `chosen()` (sounds), `changed()`. */
  constructor(context) {
    this.#context = context;
    this.#select.addEventListener("change", () => this.reset());
    byId("whatif-reset").addEventListener("click", () => this.reset());
    this.#slider.addEventListener("input", () => this.#move());
    this.#canvas.addEventListener("pointerdown", (event) => this.#drag(event));
    this.#canvas.addEventListener("pointermove", (event) => event.buttons && this.#drag(event));
    new ResizeObserver(() => this.draw()).observe(this.#canvas.parentElement);
  }

  get label() {
    return this.#select.value;
  }

  /** What is tried for a label; null where nothing is. */
  tried(label) {
    return this.#isTouched && label === this.label ? this.#threshold : null;
  }

  get #threshold() {
    return this.#isTouched ? scoreOf(Number(this.#slider.value)) : this.#context.threshold(this.label);
  }

  remains(sound) {
    const tried = this.tried(sound.label);
    return tried === null || sound.peak >= tried;
  }

  /** Begins with the label that is heard most, until somebody chooses. */
  suggest(sounds) {
    if (this.#isTouched || document.activeElement === this.#select) return;
    const counts = new Map();
    for (const { label } of sounds) counts.set(label, (counts.get(label) ?? 0) + 1);
    const [most] = [...counts].sort((one, other) => other[1] - one[1])[0] ?? [];
    if (most && !counts.has(this.label)) {
      this.#select.value = most;
      this.reset();
    }
  }

  reset() {
    this.#isTouched = false;
    this.#slider.value = oddsOf(this.#context.threshold(this.label));
    this.draw();
    this.#context.changed();
  }

  #drag({ offsetX }) {
    const share = (offsetX - PAD) / (this.#canvas.clientWidth - 2 * PAD);
    this.#slider.value = LOWEST + Math.min(1, Math.max(0, share)) * (HIGHEST - LOWEST);
    this.#move();
  }

  #move() {
    this.#isTouched = true;
    this.draw();
    this.#context.changed();
  }

  draw() {
    const now = this.#context.threshold(this.label);
    const tried = this.#threshold;
    const sounds = this.#context.chosen().filter((sound) => sound.label === this.label);
    const n = sounds.filter((sound) => sound.peak >= tried).length;
    const name = wordsOf(this.label);
    const went = n === sounds.length ? "" : ` ${sounds.length - n} would go.`;
    say(byId("whatif-text"), this.label
      ? `With ${name} at ${told(tried)}, ${n} of ${sounds.length} event${sounds.length === 1 ? "" : "s"} of this day would remain.${went}`
      : "");
    this.#slider.setAttribute("aria-valuetext", `${told(tried)}, ${n} of ${sounds.length} remain`);
    say(byId("whatif-note"), tried < now - 0.001
      ? `The threshold is ${told(now)}: what stayed below it was never written down, so a lower one would bring more than is shown.`
      : `The threshold is ${told(now)}. To keep another, set onset_threshold of this label in the configuration.`);
    this.#paint(sounds, now, tried);
  }

  #paint(sounds, now, tried) {
    const { context, width, height } = brush(this.#canvas);
    const floor = height - 18;
    const xOf = (score) => PAD + shareOf(score) * (width - 2 * PAD);
    const wide = (width - 2 * PAD) / BINS;
    const bins = Array.from({ length: BINS }, () => []);
    for (const sound of sounds) bins[Math.min(BINS - 1, Math.floor(shareOf(sound.peak) * BINS))].push(sound.peak >= tried);
    const most = Math.max(4, ...bins.map((bin) => bin.length));
    bins.forEach((bin, i) => bin.sort().reverse().forEach((stays, j) => {
      const tall = (floor - 8) / most;
      context.globalAlpha = stays ? 1 : 0.25;
      context.fillStyle = colourOf(this.label);
      context.fillRect(PAD + i * wide + 0.5, floor - (j + 1) * tall + 0.5, wide - 1, Math.max(1, tall - 1));
    }));
    context.globalAlpha = 1;
    context.strokeStyle = colour("line");
    context.strokeRect(PAD, floor, width - 2 * PAD, 0);
    context.fillStyle = colour("soft");
    context.textBaseline = "bottom";
    for (const score of TICKS) {
      const text = String(score);
      const wide = context.measureText(text).width;
      context.fillText(text, Math.min(width - wide, Math.max(0, xOf(score) - wide / 2)), height);
    }
    this.#line(context, xOf(now), floor, colour("soft"), [4, 3]);
    this.#line(context, xOf(tried), floor, colour("accent"), []);
  }

  #line(context, x, floor, stroke, dash) {
    context.setLineDash(dash);
    context.strokeStyle = stroke;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, floor);
    context.stroke();
    context.setLineDash([]);
  }
}
