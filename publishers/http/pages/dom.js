// Elements, times and colours.

export const byId = (id) => document.getElementById(id);

/** An element; `properties` are set on it, those with a dash or `role` as attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Sets text only where it changed, so that a screen reader hears news only. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const hours = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const timeOf = (ms) => clock.format(ms);
export const hourOf = (ms) => hours.format(ms);
export const wordsOf = (label) => label.replaceAll("_", " ");
export const levelOf = (level) => (level === null ? "silence" : `${level.toFixed(0)} dBFS`.replace("-", "−"));

export function lengthOf(ms) {
  if (ms === null) return "…";
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** What a share is of, in words: never longer than an hour. */
export function spanOf(seconds) {
  if (seconds >= 3570) return "the last hour";
  return seconds >= 90 ? `the last ${Math.round(seconds / 60)} minutes` : `the last ${Math.round(seconds)} s`;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
export const isDark = () => dark.matches;
export const onScheme = (act) => dark.addEventListener("change", act);

/** A colour of the style sheet. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** A colour that a label keeps, readable on the panel; labels that follow each other are far apart. */
export function colourOf(label) {
  if (!hues.has(label)) hues.set(label, Math.round(250 + hues.size * 137.5) % 360);
  return `hsl(${hues.get(label)} ${isDark() ? "70% 70%" : "65% 36%"})`;
}

const hues = new Map();

/** Fits a canvas to its box at the screen's resolution; its context in CSS pixels, cleared. */
export function brush(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = Math.min(devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  return { context, width, height };
}
