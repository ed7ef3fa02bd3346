// What the server tells.

const PAGE = 1000;
const MOST_PAGES = 200;
const MOST_EMPTY = 3;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;

/** An answer's JSON; an error with the server's own words. */
export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(parameters);
  const answer = await fetch(`api/v1/${path}${query.size ? `?${query}` : ""}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `status ${answer.status}`);
  return answer.json();
}

/**
 * Hands over all events that began in a stretch of time (ms), page by page, the newest first. An empty page means that
 * 50,000 older events do not fit; after a few of them nothing will.
 */
export async function eventsBetween(from, to, take, isWanted) {
  let cursor = null;
  let nEmpty = 0;
  for (let n = 0; n < MOST_PAGES && nEmpty < MOST_EMPTY && isWanted(); n += 1) {
    const page = await ask("events", {
      from: new Date(from).toISOString(), to: new Date(to).toISOString(), order: "newest", limit: PAGE,
      ...(cursor === null ? {} : { cursor }),
    });
    if (!isWanted()) return;
    take(page.events);
    cursor = page.cursor;
    nEmpty = page.events.length ? 0 : nEmpty + 1;
    if (cursor === null) return;
  }
}

/** Events as they happen; the browser itself asks for what it missed, unless it was refused. */
export function followEvents(take, tell, since = null) {
  const source = new EventSource(`api/v1/events/stream${since ? `?since=${since}` : ""}`);
  let last = since;
  for (const phase of ["onset", "offset"]) {
    source.addEventListener(phase, (message) => {
      last = message.lastEventId;
      take(JSON.parse(message.data));
    });
  }
  source.addEventListener("open", () => tell(true));
  source.addEventListener("error", () => {
    tell(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => followEvents(take, tell, last), LONGEST_RETRY_MS);
  });
}

/** One endless answer with everyone's status and the frames of the streams that are looked at. */
export class Live {
  #streams = "";
  #abort = null;
  #take;

  constructor(take) {
    this.#take = take;
    document.addEventListener("visibilitychange", () => this.#restart());
    this.#restart();
  }

  watch(names) {
    const wanted = [...names].sort().join(" ");
    if (wanted === this.#streams) return;
    this.#streams = wanted;
    this.#restart();
  }

  #restart() {
    this.#abort?.abort();
    this.#abort = null;
    if (document.hidden) return;
    this.#abort = new AbortController();
    this.#run(this.#abort.signal);
  }

  async #run(signal) {
    let wait = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        const query = new URLSearchParams(this.#streams.split(" ").filter(Boolean).map((name) => ["stream", name]));
        const answer = await fetch(`api/v1/live?${query}`, { signal });
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        await this.#read(answer.body.getReader(), signal, () => { wait = FIRST_RETRY_MS; });
      } catch {
        // The server went away or refused: the wait grows, and statuses say so meanwhile.
      }
      if (signal.aborted) return;
      this.#take({ type: "lost" });
      await new Promise((resolve) => { setTimeout(resolve, wait * (0.5 + Math.random() / 2)); });
      wait = Math.min(2 * wait, LONGEST_RETRY_MS);
    }
  }

  async #read(reader, signal, isGood) {
    let held = new Uint8Array(0);
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      isGood();
      const joined = new Uint8Array(held.length + value.length);
      joined.set(held);
      joined.set(value, held.length);
      held = this.#unpack(joined);
    }
  }

  /** Takes whole messages off the front; what is left. */
  #unpack(bytes) {
    let at = 0;
    for (;;) {
      if (bytes.length - at < 4) return bytes.slice(at);
      const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0, true);
      let end = at + 4 + length;
      if (bytes.length < end) return bytes.slice(at);
      const message = JSON.parse(new TextDecoder().decode(bytes.subarray(at + 4, end)));
      const arrays = Object.entries(message.arrays ?? {});
      const size = arrays.reduce((sum, [, [rows, columns]]) => sum + rows * columns, 0);
      if (bytes.length < end + size) return bytes.slice(at);
      for (const [name, [rows, columns]] of arrays) {
        message[name] = { rows, columns, values: bytes.slice(end, end + rows * columns) };
        end += rows * columns;
      }
      this.#take(message);
      at = end;
    }
  }
}
