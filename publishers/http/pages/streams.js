// A card for each stream, or for those that are chosen where there are many; those in sight are drawn live.

import { byId, levelOf, make, say, spanOf, timeOf, wordsOf } from "./dom.js";
import { SHOWN_S, Spectrogram, drawLane } from "./picture.js";
import { Refusals, Trace } from "./store.js";

const LANES = 4;
const MOST_LIVE = 8;
const REDRAW_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 50;
const CHOOSE_MS = 1000;
const FEW = 6;
const FIRST = innerWidth < 700 ? 2 : FEW;
const LINGER_MS = 30_000;
const HEARD = 0.05;
const DETAILS = {
  coarse: "Coarse spectrogram: speech cannot be rebuilt from it.",
  none: "The configuration shows no spectrogram of this stream.",
};

/** All cards. */
export class Streams {
  #cards = new Map();
  #inSight = new Set();
  #left = new Map();
  #chips = new Map();
  #chosen = new Set();
  #observer = new IntersectionObserver((entries) => this.#see(entries), { rootMargin: "120px" });
  #watch;
  #context;

  /** `context`: `sounds`, `labels` (names), `threshold(label, stream)`, `tried()`, `show(sound)`; `watch` takes names. */
  constructor(context, watch) {
    this.#context = context;
    this.#watch = watch;
    byId("find").addEventListener("input", () => this.#find());
    let drawn = 0;
    const draw = (now) => {
      if (now - drawn >= REDRAW_MS) {
        drawn = now;
        for (const name of this.#inSight) this.#cards.get(name)?.draw(now);
      }
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
  }

  get names() {
    return [...this.#cards.keys()];
  }

  /** Of a stream, if it is looked at. */
  trace(name) {
    return this.#cards.get(name)?.trace ?? null;
  }

  update(views) {
    const there = new Set(views.map((view) => view.stream));
    for (const name of this.names) if (!there.has(name)) this.#remove(name);
    for (const view of views) {
      if (!this.#cards.has(view.stream)) this.#add(view.stream);
      this.#cards.get(view.stream).tell(view);
      this.#chips.get(view.stream).classList.toggle("up", view.up);
    }
  }

  push(frames) {
    this.#cards.get(frames.stream)?.push(frames);
  }

  pushRefused(refused) {
    this.#cards.get(refused.stream)?.pushRefused(refused);
  }

  /** Sounds changed. */
  refresh() {
    for (const [name, card] of this.#cards) this.#chips.get(name).classList.toggle("on", card.tellOpen() > 0);
  }

  #add(name) {
    const card = new Card(name, this.#context);
    this.#cards.set(name, card);
    const chip = make("button", { type: "button", className: "chip", textContent: name });
    chip.addEventListener("click", () => this.#choose(name, !this.#chosen.has(name)));
    this.#chips.set(name, chip);
    const later = this.names.filter((other) => other > name).sort()[0];
    byId("streams").insertBefore(card.element, later ? this.#cards.get(later).element : null);
    byId("chips").insertBefore(chip, later ? this.#chips.get(later) : null);
    this.#observer.observe(card.element);
    if (this.#chosen.size < FIRST) this.#chosen.add(name);
    this.#find();
  }

  #remove(name) {
    const { element } = this.#cards.get(name);
    this.#observer.unobserve(element);
    element.remove();
    this.#chips.get(name).remove();
    clearTimeout(this.#left.get(name));
    for (const kept of [this.#cards, this.#chips, this.#left, this.#inSight, this.#chosen]) kept.delete(name);
    this.#find();
    this.#look();
  }

  #choose(name, isChosen) {
    if (isChosen) this.#chosen.add(name);
    else this.#chosen.delete(name);
    this.#find();
  }

  /** With many streams, only the chosen ones have cards, and the name that is looked for thins out the rest. */
  #find() {
    const areMany = this.#cards.size > FEW;
    const wanted = byId("find").value.trim().toLowerCase();
    for (const id of ["find-row", "chips"]) byId(id).hidden = !areMany;
    for (const [name, chip] of this.#chips) {
      this.#cards.get(name).element.hidden = areMany && !this.#chosen.has(name);
      chip.hidden = !name.includes(wanted);
      chip.setAttribute("aria-pressed", this.#chosen.has(name));
    }
    byId("no-streams").hidden = !areMany || this.names.some((name) => name.includes(wanted));
  }

  #see(entries) {
    for (const { target, isIntersecting } of entries) {
      const name = target.dataset.stream;
      clearTimeout(this.#left.get(name));
      this.#left.delete(name);
      if (isIntersecting) this.#inSight.add(name);
      else if (this.#inSight.delete(name)) this.#left.set(name, setTimeout(() => this.#forget(name), LINGER_MS));
    }
    this.#look();
  }

  #forget(name) {
    this.#left.delete(name);
    this.#look();
  }

  /** Those in sight, and those that were a moment ago, so that an event's scores are at hand when somebody asks. */
  #look() {
    this.#watch([...this.#left.keys(), ...this.#inSight].slice(-MOST_LIVE));
  }
}

class Card {
  #context;
  #edge = 0;
  #chosen = 0;
  #lanes = [];
  #refusals = new Refusals();

  constructor(name, context) {
    this.name = name;
    this.trace = null;
    this.#context = context;
    this.badge = make("span", { className: "badge", textContent: "Waiting" });
    this.facts = make("span", { className: "facts" });
    this.fill = make("i");
    this.meter = make("div", { className: "meter", role: "meter", "aria-label": `Level of ${name}`, "aria-valuemin": -90,
      "aria-valuemax": 0, "aria-valuenow": -90, "aria-valuetext": "no audio" }, this.fill);
    this.level = make("span", { textContent: "–" });
    const canvas = make("canvas", { className: "picture", role: "img", "aria-label": `Spectrogram of ${name}` });
    this.picture = new Spectrogram(canvas);
    this.lanes = make("div", { className: "lanes", "aria-label": `Loudest sounds of ${name}`, role: "group" });
    this.open = make("p", { className: "open" });
    this.refused = make("p", { className: "refused" });
    this.detail = make("p", { className: "note detail", hidden: true });
    const id = `stream-${name}`;
    this.element = make("article", { className: "card", "aria-labelledby": id },
      make("div", { className: "head" }, make("h3", { id, textContent: name }), this.badge, this.facts),
      make("div", { className: "level" }, this.meter, this.level), canvas, this.detail,
      this.lanes, this.open, this.refused);
    this.element.dataset.stream = name;
    this.tellOpen();
  }

  tell(view) {
    const [word, kind] = view.coverage === null ? ["Not heard yet", ""] : view.up ? ["Listening", "up"] : ["No audio", "down"];
    say(this.badge, word);
    this.badge.className = `badge ${kind}`;
    const lag = view.lag_s > 1 ? ` · ${view.lag_s.toFixed(0)} s behind` : "";
    say(this.facts, view.coverage === null ? "" : `${(100 * view.coverage).toFixed(0)} % of ${spanOf(view.coverage_s)} heard${lag}`);
    if (!this.trace || !view.up) this.#tellLevel(view.up ? view.level_db : -120, view.up ? levelOf(view.level_db) : "–");
    else this.#tellValue(view.level_db);
  }

  #tellValue(level) {
    say(this.level, levelOf(level));
    this.meter.setAttribute("aria-valuenow", Math.max(-90, level ?? -90));
    this.meter.setAttribute("aria-valuetext", levelOf(level));
  }

  #tellLevel(level, text) {
    const share = Math.min(1, Math.max(0, ((level ?? -120) + 90) / 90));
    this.fill.style.transform = `scaleX(${share})`;
    this.fill.classList.toggle("hot", share > 0.93);
    if (text !== undefined) {
      say(this.level, text);
      this.meter.setAttribute("aria-valuenow", Math.max(-90, level ?? -90));
      this.meter.setAttribute("aria-valuetext", text === "–" ? "no audio" : text);
    }
  }

  tellOpen() {
    const open = this.#context.sounds.of(this.name).filter((sound) => sound.off === null).slice(-3);
    this.open.replaceChildren(...(open.length ? open.flatMap((sound, i) => [
      i ? ", " : "", make("b", { textContent: wordsOf(sound.label) }), ` since ${timeOf(sound.on)}`]) : ["Nothing going on."]));
    return open.length;
  }

  push(frames) {
    if (!this.trace?.fits(frames)) this.trace = new Trace(frames);
    this.trace.push(frames);
    this.detail.hidden = frames.spectrogram === "full";
    say(this.detail, DETAILS[frames.spectrogram] ?? "");
    this.#tellLevel(this.trace.level);
  }

  pushRefused(refused) {
    this.#refusals.add(refused);
    this.#tellRefused(1000 * refused.until_s);
  }

  /** What the picture shows in grey, in words. */
  #tellRefused(edge) {
    const refused = this.#refusals.between(edge - 1000 * SHOWN_S, edge).slice(-3);
    const words = ({ label, on, score }) => `${wordsOf(label)} at ${timeOf(on)} (${score.toFixed(2)})`;
    say(this.refused, refused.length ? `Not confirmed: ${refused.map(words).join(", ")}` : "");
  }

  draw(now) {
    const { trace } = this;
    if (!trace) return;
    const late = trace.end - this.#edge;
    this.#edge = late < 0 || late * trace.hop > 2 ? trace.end : this.#edge + late * 0.35;
    const edge = Math.round(this.#edge);
    const from = edge - Math.round(SHOWN_S / trace.hop);
    const [begin, end] = [from * trace.hop * 1000, edge * trace.hop * 1000];
    const sounds = this.#context.sounds.between(this.name, begin, end);
    const shown = [...sounds, ...this.#refusals.between(begin, end)].sort((one, other) => one.on - other.on);
    this.picture.draw(trace, edge, shown);
    if (now - this.#chosen > CHOOSE_MS) {
      this.#chosen = now;
      this.#choose(trace.peaks(from, edge));
      this.#tellRefused(end);
    }
    for (const lane of this.#lanes) {
      const threshold = this.#context.threshold(lane.name, this.name);
      drawLane(lane.canvas, trace, lane.label, from, edge, threshold, this.#context.tried(lane.name), lane.name);
      const score = trace.newest(lane.label);
      say(lane.value, score.toFixed(2));
      lane.row.classList.toggle("on", score >= threshold);
    }
  }

  /** The loudest classes keep their lanes, so that these do not jump about. */
  #choose(peaks) {
    const heard = [...peaks.keys()].filter((label) => peaks[label] >= HEARD);
    const best = heard.sort((one, other) => peaks[other] - peaks[one]).slice(0, LANES);
    while (this.#lanes.length > best.length) {
      const at = Math.max(0, this.#lanes.findLastIndex((lane) => !best.includes(lane.label)));
      this.#lanes.splice(at, 1)[0].row.remove();
    }
    this.lanes.dataset.empty = best.length ? "" : `No class above ${HEARD} in the last ${SHOWN_S} s.`;
    const kept = this.#lanes.map((lane) => (best.includes(lane.label) ? lane.label : null));
    const fresh = best.filter((label) => !kept.includes(label));
    const labels = Array.from({ length: best.length }, (_, i) => kept[i] ?? fresh.shift());
    labels.forEach((label, i) => {
      if (this.#lanes[i]?.label === label) return;
      const name = this.#context.labels[label] ?? `class ${label}`;
      const canvas = make("canvas", { role: "img", "aria-label": `Score of ${wordsOf(name)}` });
      const value = make("span", { textContent: "0.00" });
      const row = make("div", { className: "lane" }, make("span", { textContent: wordsOf(name), title: wordsOf(name) }), canvas, value);
      if (this.#lanes[i]) this.#lanes[i].row.replaceWith(row);
      else this.lanes.append(row);
      this.#lanes[i] = { label, name, canvas, value, row };
    });
  }
}
