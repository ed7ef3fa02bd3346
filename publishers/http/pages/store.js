// What the page remembers: the day's sounds, and the last frames of streams that are looked at.

const KEPT_S = 120;
const MANY = 3000;
const PAUSE_MS = 1000;

/** One sound: an event's two phases put together. Times are in ms since 1970. */
function soundOf(event, known) {
  return {
    id: event.event_id, stream: event.stream, label: event.label, model: event.model,
    on: Date.parse(event.onset_time), off: event.offset_time ? Date.parse(event.offset_time) : known?.off ?? null,
    ...(known && event.phase === "onset" && known.off !== null
      ? { by: known.by, peak: known.peak, mean: known.mean, level: known.level, reason: known.reason, delay: known.delay, seq: known.seq }
      : { by: event.heard_by ?? null, peak: event.score_peak, mean: event.score_mean, level: event.level_db, reason: event.reason,
        delay: event.delay_ms, seq: event.seq }),
  };
}

export class Sounds extends EventTarget {
  #byId = new Map();
  #byStream = null;
  #sorted = null;
  #told = false;

  clear() {
    this.#byId.clear();
    this.#tell();
  }

  add(events) {
    for (const event of events) this.#byId.set(event.event_id, soundOf(event, this.#byId.get(event.event_id)));
    this.#tell();
  }

  /** Those that ended before a time (ms) are not looked for any more. */
  forget(before) {
    for (const sound of this.#byId.values()) if (sound.off !== null && sound.off < before) this.#byId.delete(sound.id);
    this.#tell();
  }

  get(id) {
    return this.#byId.get(id);
  }

  /** By begin. */
  get all() {
    this.#sorted ??= [...this.#byId.values()].sort((one, other) => one.on - other.on);
    return this.#sorted;
  }

  /** Those of a stream, by begin. */
  of(stream) {
    if (!this.#byStream) {
      this.#byStream = new Map();
      for (const sound of this.all) {
        if (!this.#byStream.has(sound.stream)) this.#byStream.set(sound.stream, []);
        this.#byStream.get(sound.stream).push(sound);
      }
    }
    return this.#byStream.get(stream) ?? [];
  }

  /** Those of a stream that sound between two times (ms). */
  between(stream, from, to) {
    return this.of(stream).filter((sound) => sound.on < to && (sound.off ?? Infinity) > from);
  }

  /** Drawing many takes a while, so they are not drawn for each that comes. */
  #tell() {
    this.#byStream = null;
    this.#sorted = null;
    if (this.#told) return;
    this.#told = true;
    setTimeout(() => {
      this.#told = false;
      this.dispatchEvent(new Event("change"));
    }, this.#byId.size > MANY ? PAUSE_MS : 0);
  }
}

/** What the judge refused of a stream in the last minutes. Times are in ms since 1970. */
export class Refusals {
  #byOnset = new Map();

  /** A sound that is refused again lasts longer. */
  add({ label, onset_s: onset, until_s: until, score }) {
    this.#byOnset.set(`${label} ${onset}`, { label, score, on: 1000 * onset, off: 1000 * until, isRefused: true });
    for (const [key, each] of this.#byOnset) if (each.off < 1000 * (until - KEPT_S)) this.#byOnset.delete(key);
  }

  /** Those that sound between two times, by begin. */
  between(from, to) {
    return [...this.#byOnset.values()].filter(({ on, off }) => on < to && off > from).sort((one, other) => one.on - other.on);
  }
}

/** A stream's last two minutes: row n is the score and the features at n hops since 1970. Scores come some rows later. */
export class Trace {
  constructor(frames) {
    this.hop = frames.hop_s;
    this.nLabels = frames.scores.columns;
    this.nMels = frames.features.columns;
    this.delay = frames.score_delay;
    this.perScore = frames.features.rows / frames.scores.rows;
    this.size = Math.ceil(KEPT_S / this.hop);
    this.stamps = new Float64Array(this.size).fill(-1);
    this.scores = new Uint8Array(this.size * this.nLabels);
    this.features = new Uint8Array(this.size * this.perScore * this.nMels);
    this.level = -120;
    this.end = 0;
  }

  fits(frames) {
    return frames.hop_s === this.hop && frames.scores.columns === this.nLabels && frames.features.columns === this.nMels;
  }

  push(frames) {
    const first = Math.round(frames.first_s / this.hop);
    const wide = this.perScore * this.nMels;
    for (let row = 0; row < frames.scores.rows; row += 1) {
      const slot = (first + row) % this.size;
      this.stamps[slot] = first + row;
      this.scores.set(frames.scores.values.subarray(row * this.nLabels, (row + 1) * this.nLabels), slot * this.nLabels);
      this.features.set(frames.features.values.subarray(row * wide, (row + 1) * wide), slot * wide);
    }
    this.level = Math.max(...frames.level_db);
    this.end = first + frames.scores.rows;
  }

  /** The slot of a row; -1 where it did not come. */
  slot(row) {
    const slot = ((row % this.size) + this.size) % this.size;
    return this.stamps[slot] === row ? slot : -1;
  }

  /** Whether any of some rows is still here. */
  remembers(from, to) {
    for (let row = Math.max(from, this.end - this.size); row < Math.min(to, this.end); row += 1) if (this.slot(row) >= 0) return true;
    return false;
  }

  /** A label's score in a row, 0 to 1; null where it did not come. */
  score(row, label) {
    const slot = this.slot(row + this.delay);
    return slot < 0 ? null : this.scores[slot * this.nLabels + label] / 255;
  }

  /** A label's newest score. */
  newest(label) {
    return this.score(this.end - 1 - this.delay, label) ?? 0;
  }

  /** Each label's highest score in some rows. */
  peaks(from, to) {
    const peaks = new Float32Array(this.nLabels);
    for (let row = from; row < to; row += 1) {
      const slot = this.slot(row + this.delay);
      for (let label = 0; slot >= 0 && label < this.nLabels; label += 1) {
        peaks[label] = Math.max(peaks[label], this.scores[slot * this.nLabels + label] / 255);
      }
    }
    return peaks;
  }
}

/** The scores around one event, as the server keeps them; its rows are a `Trace`'s, its labels are its own. */
export class KeptScores {
  #scores;

  constructor({ hop, sample_rate_hz: rate, first_time: time, labels, scores }) {
    this.hop = hop / rate;
    this.labels = labels;
    this.begin = Math.round(Date.parse(time) / 1000 / this.hop);
    this.end = this.begin + scores[0].length;
    this.#scores = scores;
  }

  score(row, label) {
    return this.#scores[label][row - this.begin] ?? null;
  }
}
