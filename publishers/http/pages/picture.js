// A stream's spectrogram, its events and its score lanes.

import { brush, colour, colourOf, isDark, onScheme, wordsOf } from "./dom.js";

export const SHOWN_S = 20;
const STOPS = {
  dark: [[0, 16, 18, 30], [0.3, 52, 32, 110], [0.55, 150, 44, 120], [0.75, 236, 104, 84], [0.9, 252, 190, 110], [1, 255, 250, 210]],
  light: [[0, 247, 248, 252], [0.3, 214, 222, 246], [0.55, 134, 152, 226], [0.75, 74, 72, 190], [0.9, 56, 24, 120], [1, 30, 6, 60]],
};
const QUIET = 0.12;
const LOUD = 0.82;
let palette = makePalette();
onScheme(() => { palette = makePalette(); });

function makePalette() {
  const stops = isDark() ? STOPS.dark : STOPS.light;
  const colours = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value += 1) {
    const at = Math.min(1, Math.max(0, (value / 255 - QUIET) / (LOUD - QUIET)));
    const after = Math.max(1, stops.findIndex(([stop]) => stop >= at));
    const [from, ...low] = stops[after - 1];
    const [to, ...high] = stops[after];
    const share = (at - from) / (to - from);
    low.forEach((channel, i) => { colours[value * 4 + i] = channel + share * (high[i] - channel); });
    colours[value * 4 + 3] = 255;
  }
  return colours;
}

/** The spectrogram of the last seconds, drawn column by column into a ring and from there in two pieces. */
export class Spectrogram {
  #ring = document.createElement("canvas");
  #drawn = 0;
  #palette = palette;

  constructor(canvas) {
    this.canvas = canvas;
  }

  draw(trace, edge, sounds) {
    const { context, width, height } = brush(this.canvas);
    const rows = Math.round(SHOWN_S / trace.hop);
    if (trace.nMels > 0) this.#drawRing(context, trace, edge, rows, width, height);
    const xOf = (ms) => width * (1 - (edge * trace.hop - ms / 1000) / SHOWN_S);
    drawScale(context, width, height);
    drawSounds(context, sounds, xOf, width, height);
  }

  #drawRing(context, trace, edge, rows, width, height) {
    const columns = rows * trace.perScore;
    this.#fill(trace, rows, columns);
    context.imageSmoothingEnabled = false;
    const first = (edge - rows) * trace.perScore;
    const at = ((first % columns) + columns) % columns;
    const split = (columns - at) * (width / columns);
    context.drawImage(this.#ring, at, 0, columns - at, trace.nMels, 0, 0, split, height);
    if (at > 0) context.drawImage(this.#ring, 0, 0, at, trace.nMels, split, 0, width - split, height);
  }

  /** Puts rows that came since the last time into the ring. */
  #fill(trace, rows, columns) {
    if (this.#ring.width !== columns || this.#ring.height !== trace.nMels || this.#palette !== palette) {
      this.#ring.width = columns;
      this.#ring.height = trace.nMels;
      this.#palette = palette;
      this.#drawn = 0;
    }
    const context = this.#ring.getContext("2d");
    const pixels = context.createImageData(trace.perScore, trace.nMels);
    for (let row = Math.max(this.#drawn, trace.end - rows); row < trace.end; row += 1) {
      const slot = trace.slot(row);
      for (let column = 0; column < trace.perScore; column += 1) {
        for (let mel = 0; mel < trace.nMels; mel += 1) {
          const value = slot < 0 ? -1 : trace.features[(slot * trace.perScore + column) * trace.nMels + mel];
          const pixel = ((trace.nMels - 1 - mel) * trace.perScore + column) * 4;
          if (value < 0) pixels.data[pixel + 3] = 0;
          else for (let i = 0; i < 4; i += 1) pixels.data[pixel + i] = palette[value * 4 + i];
        }
      }
      context.putImageData(pixels, (row * trace.perScore) % columns, 0);
    }
    this.#drawn = trace.end;
  }
}

function drawScale(context, width, height) {
  context.fillStyle = isDark() ? "rgb(255 255 255 / .55)" : "rgb(27 29 42 / .6)";
  context.textBaseline = "bottom";
  for (let s = 5; s < SHOWN_S; s += 5) {
    const x = width * (1 - s / SHOWN_S);
    context.fillRect(x, height - 5, 1, 5);
    context.fillText(`−${s} s`, x + 3, height - 1);
  }
}

function drawSounds(context, sounds, xOf, width, height) {
  const ends = [];
  for (const sound of sounds) {
    const from = Math.max(0, xOf(sound.on));
    const to = sound.off === null ? width : Math.min(width, xOf(sound.off));
    const text = sound.isRefused ? `${wordsOf(sound.label)}?` : wordsOf(sound.label);
    const taken = Math.max(to, from + context.measureText(text).width + 10);
    let line = ends.findIndex((end) => end <= from);
    if (line < 0) line = ends.length;
    ends[line] = taken;
    const y = 4 + line * 20;
    if (y > height - 20) continue;
    context.fillStyle = isDark() ? "rgb(16 18 26 / .72)" : "rgb(255 255 255 / .8)";
    context.fillRect(from, y, Math.max(taken - from, 2), 17);
    context.fillStyle = sound.isRefused ? colour("idle") : colourOf(sound.label);
    context.fillRect(from, y + 15, Math.max(to - from, 2), 3);
    context.fillRect(from, 0, 1.5, height);
    if (sound.off !== null) context.fillRect(to - 1, y, 1, height - y);
    context.textBaseline = "top";
    context.fillText(text, from + 5, y + 1);
  }
}

/** One label's score over the last seconds with its threshold; `other` is what somebody tries. */
export function drawLane(canvas, trace, label, from, to, threshold, other, name) {
  const { context, width, height } = brush(canvas);
  drawScore(context, width, height, trace, label, from, to, colourOf(name));
  drawThreshold(context, width, height, threshold, colour("soft"));
  if (other !== null && other !== threshold) drawThreshold(context, width, height, other, colour("hot"));
}

export function drawScore(context, width, height, trace, label, from, to, stroke) {
  context.beginPath();
  let isDown = false;
  const step = width / (to - from);
  for (let row = from; row < to; row += 1) {
    const score = trace.score(row, label);
    const x = (row - from) * step;
    if (score === null) {
      isDown = false;
      continue;
    }
    const y = 1 + (height - 2) * (1 - score);
    if (isDown) context.lineTo(x, y);
    else context.moveTo(x, y);
    isDown = true;
  }
  context.strokeStyle = stroke;
  context.lineWidth = 1.6;
  context.lineJoin = "round";
  context.stroke();
}

export function drawThreshold(context, width, height, threshold, stroke) {
  const y = 1 + (height - 2) * (1 - threshold);
  context.strokeStyle = stroke;
  context.lineWidth = 1;
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.stroke();
  context.setLineDash([]);
}
