// Counting a stretch of the log, request by request, and showing it as a chart.

import { filterParameters, readHistory, readStats } from "./page-api.js";
import { drawBars, drawTop } from "./page-chart.js";
import { byId, bytes, day, minute, number, plural, setText } from "./page-dom.js";
import { gapText } from "./page-rows.js";

const MOST_REQUESTS = 20;
const AGAIN_MS = 5000;
// A count that took more requests than this is not repeated by itself: the log has better things to do.
const CHEAP_REQUESTS = 2;
const MOST_BARS = 60;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const RANGES = { "5m": [5 * MINUTE, "10s"], "1h": [HOUR, "1m"], "24h": [DAY, "30m"] };
const BUCKETS = {
  "10s": 10 * SECOND, "1m": MINUTE, "5m": 5 * MINUTE, "30m": 30 * MINUTE, "1h": HOUR, "6h": 6 * HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY,
};

export function startStats() {
  const field = (name) => byId(`stats-${name}`);
  let channel = null;
  let run = 0;
  let timer = null;
  let cheap = true;
  let visible = false;
  let shown = null;

  async function plan() {
    const range = field("range").value;
    const parameters = filterParameters({ topics: field("topics").value, types: field("types").value });
    if (range !== "all") {
      const [span, bucket] = RANGES[range];
      parameters.set("from", `-${range}`);
      parameters.set("bucket", bucket);
      return { parameters, step: BUCKETS[bucket], begin: Date.now() - span };
    }
    // How wide a bar should be depends on how far back the log goes.
    const { events } = await readHistory(channel, new URLSearchParams({ limit: "1" }));
    const begin = events.length ? Date.parse(events[0].time) : Date.now() - 5 * MINUTE;
    const [bucket, step] = Object.entries(BUCKETS).find(([, width]) => (Date.now() - begin) / width <= MOST_BARS) ?? ["30d", BUCKETS["30d"]];
    parameters.set("from", "earliest");
    parameters.set("bucket", bucket);
    return { parameters, step, begin };
  }

  async function count() {
    clearTimeout(timer);
    const mine = (run += 1);
    field("form").setAttribute("aria-busy", "true");
    try {
      const { parameters, step, begin } = await plan();
      const sum = newSum();
      do {
        const part = await readStats(channel, parameters);
        if (mine !== run) return;
        addUp(sum, part);
        if (!part.next) break;
        parameters.set("from", part.next);
      } while (!sum.complete && sum.requests < MOST_REQUESTS);
      cheap = sum.requests <= CHEAP_REQUESTS;
      shown = { sum, step, begin, end: Date.now() };
      show();
    } catch (problem) {
      if (mine === run) setText(field("note"), `${problem.title}. ${problem.detail}`);
    } finally {
      if (mine === run) {
        field("form").removeAttribute("aria-busy");
        again();
      }
    }
  }

  function again() {
    clearTimeout(timer);
    if (field("live").checked && visible && cheap && channel && !document.hidden) timer = setTimeout(count, AGAIN_MS);
  }

  function show() {
    const { sum, step, begin, end } = shown;
    setText(field("total"), number(sum.events));
    field("total").dataset.value = String(sum.events);
    setText(field("unit"), sum.events === 1 ? "event" : "events");
    setText(field("bytes"), bytes(sum.bytes));
    const notes = [sum.complete ? "" : `the first ${number(sum.scanned)} events of the range, it is too long to count here`,
      sum.gap ? gapText(sum.gap) : "", sum.beyond ? `${plural(sum.beyond, "event")} in bars or names beyond the broker's limit` : ""];
    setText(field("note"), notes.filter(Boolean).join("; "));
    const bars = [];
    const last = Math.floor(end / step) * step;
    for (let start = Math.max(Math.floor(begin / step) * step, last - 400 * step); start <= last; start += step) {
      bars.push({ start, count: sum.buckets.get(start) ?? 0, ordinal: ordinal(start, step) });
    }
    // A bucket that the broker began elsewhere than we think would be lost to the eye.
    const expected = new Set(bars.map((bar) => bar.start));
    for (const [start, events] of sum.buckets) if (!expected.has(start)) bars.push({ start, count: events, ordinal: ordinal(start, step) });
    bars.sort((a, b) => a.start - b.start);
    drawBars(field("chart"), bars, {
      label: (start) => labelText(start, step, end - begin),
      // Two bars of one minute would have one label.
      labelUnit: Math.max(1, MINUTE / step),
      describe: ({ start, count: events }) => `${spanText(start, step, end - begin)}: ${plural(events, "event")}`,
      summary: `Events over time: ${number(sum.events)} in ${bars.length} bars, at most ${number(Math.max(...bars.map((bar) => bar.count)))} in one`,
      readout: (text) => setText(field("readout"), text),
    });
    drawTop(field("tops"), [
      { title: "Types", names: sum.types, empty: "" },
      { title: "Topics", names: sum.topics, empty: "everyone" },
      { title: "Sources", names: sum.sources, empty: "none" },
    ]);
  }

  field("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (channel) count();
  });
  field("form").addEventListener("change", (event) => {
    if (event.target === field("live")) again();
    else if (channel) count();
  });
  document.addEventListener("visibilitychange", again);
  new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    again();
  }).observe(field("chart"));
  let width = 0;
  new ResizeObserver(([entry]) => {
    // Drawing changes nothing in width, but an observer that draws at every call may call itself.
    if (shown && entry.contentRect.width !== width) show();
    width = entry.contentRect.width;
  }).observe(field("chart"));

  return {
    use(next) {
      channel = next;
      cheap = true;
      count();
    },
  };
}

// Counted in local time, as the labels are.
const ordinal = (start, step) => Math.floor((start - new Date(start).getTimezoneOffset() * MINUTE) / step);

function clockText(start, step) {
  const date = new Date(start);
  return step < MINUTE ? `${minute(date)}:${String(date.getSeconds()).padStart(2, "0")}` : minute(date);
}

function labelText(start, step, range) {
  const date = new Date(start);
  if (step >= DAY) return day(date).slice(5);
  return range > 2 * DAY ? `${day(date).slice(5)} ${minute(date)}` : minute(date);
}

function spanText(start, step, range) {
  const date = day(new Date(start));
  if (step >= DAY) return date;
  return `${range >= DAY ? `${date} ` : ""}${clockText(start, step)} – ${clockText(start + step, step)}`;
}

const newSum = () => ({ events: 0, bytes: 0, scanned: 0, requests: 0, beyond: 0, complete: false, gap: null,
  types: new Map(), topics: new Map(), sources: new Map(), buckets: new Map() });

function addUp(sum, part) {
  const add = (map, key, count) => map.set(key, (map.get(key) ?? 0) + count);
  sum.requests += 1;
  sum.events += part.events;
  sum.bytes += part.bytes;
  sum.scanned += part.scanned ?? 0;
  sum.complete = part.complete;
  sum.gap ??= part.gap ?? null;
  sum.beyond += Object.values(part.other ?? {}).reduce((most, count) => Math.max(most, count), 0);
  for (const name of ["types", "topics", "sources"]) for (const [key, count] of Object.entries(part[name])) add(sum[name], key, count);
  for (const { start, events } of part.buckets) add(sum.buckets, Date.parse(start), events);
}
