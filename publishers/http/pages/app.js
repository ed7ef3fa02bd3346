// Puts the page together.

import { Live, ask, eventsBetween, followEvents } from "./api.js";
import { Details } from "./details.js";
import { byId, colourOf, make, onScheme, say, spanOf, wordsOf } from "./dom.js";
import { Sounds } from "./store.js";
import { Streams } from "./streams.js";
import { Timeline, dayEnd, dayOf, midnight } from "./timeline.js";
import { WhatIf } from "./whatif.js";

const REDRAW_MS = 5000;
const CURRENT_MS = 600_000;
const GONE_MS = 5000;
const RETRY_MS = 3000;

/** The chosen day's, and what is or was a moment ago, whatever day is looked at. */
const sounds = new Sounds();
const current = new Sounds();
const model = { labels: [], groups: new Set(), thresholds: new Map(), overrides: {} };
const link = { events: false, live: false };
let views = [];
let zones = [];
let asked = 0;
let lookedAt = 0;

const threshold = (label, stream = byId("stream").value) =>
  model.overrides[stream]?.[label]?.onset_threshold ?? model.thresholds.get(label) ?? 0.5;
const show = (sound) => details.show(sound);

const whatIf = new WhatIf({ threshold, chosen: () => timeline?.chosen ?? [], changed: () => timeline?.draw() });
const timeline = new Timeline({ sounds, show, remains: (sound) => whatIf.remains(sound) });
const streams = new Streams(
  { sounds: current, show, labels: model.labels, threshold, tried: (label) => whatIf.tried(label) }, (names) => live?.watch(names));
const details = new Details({ sounds, labels: model.labels, groups: model.groups, threshold, tried: (label) => whatIf.tried(label), trace: (stream) => streams.trace(stream) });
let live = null;

function tellHealth() {
  const nUp = views.filter((view) => view.up).length;
  const known = views.filter((view) => view.coverage !== null);
  const span = known.length ? Math.max(...known.map((view) => view.coverage_s)) : null;
  const worst = known.length ? Math.min(...known.map((view) => view.coverage)) : null;
  const isGood = link.events && link.live;
  byId("health").className = !isGood || nUp < views.length ? "bad" : "good";
  const heard = worst === null ? "" : `, ${views.length > 1 && worst < 0.995 ? "at least " : ""}${(100 * worst).toFixed(0)} % of ${spanOf(span)} heard`;
  say(byId("health"), !isGood ? "Not connected; trying again."
    : `${nUp} of ${views.length} stream${views.length === 1 ? "" : "s"} listening${heard}`);
}

function takeLive(message) {
  link.live = message.type !== "lost";
  if (message.type === "frames") {
    streams.push(message);
    return;
  }
  if (message.type === "refused") {
    streams.pushRefused(message);
    return;
  }
  if (message.type === "statuses") {
    takeStatuses(message.streams);
  }
  tellHealth();
}

function takeStatuses(told) {
  const now = performance.now();
  const fresh = new Map(told.map((view) => [view.stream, { ...view, toldAt: now }]));
  views = [...views.filter((view) => !fresh.has(view.stream)), ...fresh.values()];
  takeViews();
  const isOneGone = views.some((view) => now - view.toldAt > GONE_MS);
  if (!isOneGone || now - lookedAt < GONE_MS) return;
  lookedAt = now;
  loadStreams().then(takeViews).then(tellHealth).catch(() => {}); // it is asked again
}

/** Which streams there are: one that nothing tells of any more may have gone, or may be down. */
async function loadStreams() {
  const { streams: told, zones: members } = await ask("streams");
  views = told;
  zones = Object.keys(members);
}

function takeViews() {
  streams.update(views);
  choices(byId("stream"), [...streams.names.sort(), ...zones], (name) => name);
}

function choices(select, names, textOf) {
  const there = new Set([...select.options].map((option) => option.value));
  for (const name of names) if (!there.has(name)) select.append(make("option", { value: name, textContent: textOf(name) }));
}

async function loadDay() {
  asked += 1;
  const mine = asked;
  const day = byId("day").value;
  sounds.clear();
  const take = (events) => {
    sounds.add(events);
    if (day === dayOf(Date.now())) current.add(events);
  };
  try {
    await eventsBetween(midnight(day), dayEnd(day), take, () => mine === asked);
  } catch (error) {
    say(byId("day-note"), `The events could not be read: ${error.message}`);
    setTimeout(() => mine === asked && loadDay(), RETRY_MS);
  }
}

function takeEvent(event) {
  const on = Date.parse(event.onset_time);
  const day = byId("day").value;
  if (sounds.get(event.event_id) || (on >= midnight(day) && on < dayEnd(day))) sounds.add([event]);
  current.add([event]);
}

function redraw() {
  choices(byId("label"), [...new Set(sounds.all.map((sound) => sound.label))].sort(), wordsOf);
  timeline.draw();
  whatIf.suggest(sounds.all);
  whatIf.draw();
  details.refresh();
}

async function loadModel() {
  const { model: name, labels, decided_groups: groups, overrides } = await ask("labels");
  const heard = [...labels, ...groups];
  say(byId("model"), name);
  model.labels.push(...labels.map(({ label }) => label));
  for (const { label } of groups) model.groups.add(label);
  for (const { label, onset_threshold: onset } of heard) model.thresholds.set(label, onset);
  model.overrides = overrides;
  for (const { label } of heard) colourOf(label);
  choices(byId("whatif-label"), heard.map(({ label }) => label), wordsOf);
  whatIf.reset();
  await loadStreams();
}

async function begin() {
  try {
    await loadModel();
  } catch (error) {
    say(byId("health"), `Not connected: ${error.message}`);
    setTimeout(begin, RETRY_MS);
    return;
  }
  takeViews();
  byId("day").value = dayOf(Date.now());
  byId("day").addEventListener("change", () => byId("day").value && loadDay());
  sounds.addEventListener("change", redraw);
  current.addEventListener("change", () => streams.refresh());
  onScheme(redraw);
  let today = byId("day").value;
  setInterval(() => {
    const isFollowing = byId("day").value === today;
    const hasTurned = today !== dayOf(Date.now());
    today = dayOf(Date.now());
    current.forget(Date.now() - CURRENT_MS);
    if (hasTurned && isFollowing) {
      byId("day").value = today;
      loadDay();
    } else if (!document.hidden) timeline.draw();
  }, REDRAW_MS);
  byId("stream").addEventListener("change", () => whatIf.draw());
  live = new Live(takeLive);
  followEvents(takeEvent, (isThere) => {
    link.events = isThere;
    tellHealth();
  });
  await loadDay();
  await details.fromAddress();
}

begin();
