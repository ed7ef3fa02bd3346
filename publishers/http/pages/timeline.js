// The day's sounds: a row a label, and a table of the newest.

import { brush, byId, colour, colourOf, hourOf, lengthOf, levelOf, make, say, timeOf, wordsOf } from "./dom.js";

const ROW = 24;
const AXIS = 22;
const MOST_ROWS = 100;
const REACH = 8;
const TICKS_S = [10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600];

/** Midnight of a day like 2026-11-21, in local time. */
export const midnight = (day) => new Date(`${day}T00:00:00`).getTime();
/** Its end, which is 23 to 25 hours later. */
export const dayEnd = (day) => {
  const at = new Date(midnight(day));
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() + 1).getTime();
};
export const dayOf = (ms) => {
  const at = new Date(ms);
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
};

export class Timeline {
  #context;
  #marks = [];
  #canvas = byId("timeline");

  /** `context`: `sounds`, `remains(sound)`, `show(sound)`. */
  constructor(context) {
    this.#context = context;
    for (const id of ["span", "stream", "label"]) byId(id).addEventListener("change", () => this.draw());
    this.#canvas.addEventListener("click", ({ offsetX, offsetY }) => {
      const mark = this.#nearest(offsetX, offsetY);
      if (mark) context.show(mark.sound);
    });
    new ResizeObserver(() => this.draw()).observe(this.#canvas.parentElement);
  }

  /** What the filters let through. */
  get chosen() {
    const [stream, label] = [byId("stream").value, byId("label").value];
    return this.#context.sounds.all.filter((s) => (!stream || s.stream === stream) && (!label || s.label === label));
  }

  get #extent() {
    const begin = midnight(byId("day").value);
    const end = dayEnd(byId("day").value);
    const span = 1000 * Number(byId("span").value);
    const last = Math.min(end, byId("day").value === dayOf(Date.now()) ? Date.now() + span / 50 : end);
    return span === 86_400_000 ? [begin, end] : [Math.max(begin, last - span), Math.max(last, begin + span)];
  }

  draw() {
    const sounds = this.chosen;
    const [from, to] = this.#extent;
    const seen = sounds.filter((sound) => sound.on < to && (sound.off ?? Date.now()) >= from);
    const labels = [...new Set(seen.map((sound) => sound.label))].sort();
    this.#canvas.style.height = `${AXIS + ROW * Math.max(2, labels.length)}px`;
    const { context, width, height } = brush(this.#canvas);
    const gutter = width > 560 ? 120 : 0;
    const xOf = (ms) => gutter + (width - gutter) * ((ms - from) / (to - from));
    this.#drawAxis(context, width, height, xOf, from, to);
    labels.forEach((label, row) => this.#drawName(context, label, row, gutter, width));
    this.#marks = seen.map((sound) => this.#drawSound(context, sound, labels.indexOf(sound.label), xOf, gutter));
    const nOpen = seen.filter((sound) => sound.off === null).length;
    say(byId("day-note"), `${seen.length} event${seen.length === 1 ? "" : "s"}${nOpen ? `, ${nOpen} going on` : ""}.`);
    this.#list(seen);
  }

  #drawAxis(context, width, height, xOf, from, to) {
    const most = Math.max(2, width / 90);
    const step = 1000 * (TICKS_S.find((s) => (to - from) / 1000 / s <= most) ?? 43_200);
    context.fillStyle = colour("soft");
    context.strokeStyle = colour("line");
    context.textBaseline = "bottom";
    const start = midnight(byId("day").value);
    for (let at = start + Math.ceil((from - start) / step) * step; at <= to; at += step) {
      const x = xOf(at);
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height - AXIS + 4);
      context.stroke();
      const text = step < 60_000 ? timeOf(at) : hourOf(at);
      const wide = context.measureText(text).width;
      context.fillText(text, Math.min(width - wide, Math.max(0, x - wide / 2)), height - 2);
    }
  }

  #drawName(context, label, row, gutter, width) {
    context.textBaseline = "middle";
    context.fillStyle = colour("soft");
    if (gutter) context.fillText(wordsOf(label), 0, row * ROW + ROW / 2, gutter - 8);
    else context.fillText(wordsOf(label), 2, row * ROW + 6, width / 2);
  }

  #drawSound(context, sound, row, xOf, gutter) {
    const from = Math.max(gutter, xOf(sound.on));
    const to = Math.max(from + 3, xOf(sound.off ?? Date.now()));
    const [y, tall] = gutter ? [row * ROW + 4, ROW - 8] : [row * ROW + 12, 9];
    context.globalAlpha = this.#context.remains(sound) ? 1 : 0.22;
    context.fillStyle = colourOf(sound.label);
    context.beginPath();
    context.roundRect(from, y, to - from, tall, 2);
    context.fill();
    context.globalAlpha = 1;
    return { sound, from, to, row };
  }

  #nearest(x, y) {
    const row = Math.floor(y / ROW);
    const gap = (mark) => Math.max(mark.from - x, x - mark.to, 0);
    return this.#marks.filter((mark) => mark.row === row && gap(mark) < REACH).sort((a, b) => gap(a) - gap(b))[0];
  }

  #list(sounds) {
    const rows = sounds.slice(-MOST_ROWS).reverse().map((sound) => {
      const dot = make("span", { className: "dot" });
      dot.style.background = colourOf(sound.label);
      const button = make("button", { type: "button", textContent: timeOf(sound.on),
        "aria-label": `${timeOf(sound.on)}, ${wordsOf(sound.label)}: details` });
      button.addEventListener("click", () => this.#context.show(sound));
      button.dataset.event = sound.id;
      const row = make("tr", { className: this.#context.remains(sound) ? "" : "gone" },
        make("td", {}, button), make("td", {}, dot, wordsOf(sound.label)), make("td", { textContent: sound.stream }),
        make("td", { textContent: lengthOf(sound.off === null ? null : sound.off - sound.on) }),
        make("td", { textContent: sound.peak.toFixed(2) }), make("td", { className: "wide", textContent: levelOf(sound.level) }));
      row.dataset.event = sound.id;
      return row;
    });
    const focused = document.activeElement?.dataset?.event;
    byId("rows").replaceChildren(...rows);
    if (focused) byId("rows").querySelector(`button[data-event="${focused}"]`)?.focus();
    byId("no-rows").hidden = rows.length > 0;
  }
}
