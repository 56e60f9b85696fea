// Browsing what the log kept, page by page.

import { filterParameters, readHistory } from "./page-api.js";
import { byId, clock, dataView, day, el, enable, isEnabled, number, plural, setText, typeChip } from "./page-dom.js";
import { gapText } from "./page-rows.js";

// A request scans a bounded stretch and may find nothing in it; this many stretches are skipped before asking the reader.
const MOST_STRETCHES = 10;

export function startHistory() {
  const field = (name) => byId(`history-${name}`);
  let channel = null;
  // Where each page began, so that one can go back: a cursor leads only onwards.
  let begins = [];
  let onward = null;
  let asked = null;
  let run = 0;

  function parameters() {
    const chosen = filterParameters({ user: field("user").value, topics: field("topics").value, types: field("types").value, sources: field("sources").value });
    if (!field("broadcast").checked) chosen.set("broadcast", "false");
    for (const name of ["from", "until"]) {
      const value = field(name).value.trim();
      if (value) chosen.set(name, value);
    }
    chosen.set("order", field("order").value);
    chosen.set("limit", field("limit").value);
    return chosen;
  }

  async function read(begin) {
    const mine = (run += 1);
    const edge = asked.get("order") === "desc" ? "until" : "from";
    const query = new URLSearchParams(asked);
    if (begin !== null) query.set(edge, begin);
    field("form").setAttribute("aria-busy", "true");
    let page;
    let scanned = 0;
    let gap = null;
    try {
      for (let stretch = 0; stretch < MOST_STRETCHES; stretch += 1) {
        page = await readHistory(channel, query);
        if (mine !== run) return false;
        scanned += page.scanned ?? 0;
        gap ??= page.gap;
        if (page.events.length > 0 || page.complete || page.next === null) break;
        query.set(edge, page.next);
      }
    } catch (problem) {
      if (mine === run) showProblem(problem);
      return false;
    } finally {
      if (mine === run) field("form").removeAttribute("aria-busy");
    }
    show({ ...page, scanned, gap });
    return true;
  }

  function show({ events, next, complete, scanned, gap }) {
    field("problem").hidden = gap === null;
    if (gap) {
      field("problem").className = "result notable";
      field("problem").replaceChildren(el("p", { "data-testid": "history-gap" }, el("strong", {}, "Gap"), ` ${gapText(gap)}`));
    }
    field("rows").replaceChildren(...events.map(row));
    field("scroll").hidden = events.length === 0;
    field("scroll").scrollTop = 0;
    field("empty").hidden = events.length > 0;
    setText(field("empty"), complete ? "Nothing in the log passes." : `Nothing among ${number(scanned)} events so far. Next looks further.`);
    setText(field("note"), `${plural(events.length, "event")}, ${number(scanned)} scanned, ${complete ? "complete" : "there is more"}`);
    field("note").dataset.complete = String(complete);
    onward = complete ? null : next;
  }

  function showPager() {
    field("pager").hidden = begins.length < 2 && onward === null;
    setText(field("page"), `Page ${begins.length}`);
    enable(field("previous"), begins.length > 1);
    enable(field("next"), onward !== null);
  }

  function showProblem(problem) {
    field("problem").className = "result bad";
    field("problem").hidden = false;
    field("problem").replaceChildren(...[el("p", {}, el("strong", {}, problem.title)), problem.detail ? el("p", {}, problem.detail) : null].filter(Boolean));
    setText(field("note"), "");
  }

  async function turnTo(pages) {
    if (await read(pages.at(-1))) begins = pages;
    showPager();
  }

  function clear() {
    run += 1;
    [begins, onward, asked] = [[], null, null];
    field("form").removeAttribute("aria-busy");
    field("rows").replaceChildren();
    for (const name of ["scroll", "pager", "problem"]) field(name).hidden = true;
    field("empty").hidden = false;
    setText(field("empty"), "The channel remembers. Choose what you are looking for and press Browse.");
    setText(field("note"), "");
  }

  field("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!channel) return;
    clear();
    asked = parameters();
    setText(field("empty"), "Looking…");
    turnTo([null]).then(() => asked && begins.length === 0 && setText(field("empty"), ""));
  });
  field("next").addEventListener("click", () => isEnabled(field("next")) && turnTo([...begins, onward]));
  field("previous").addEventListener("click", () => isEnabled(field("previous")) && turnTo(begins.slice(0, -1)));

  return {
    use(next) {
      channel = next;
      clear();
    },
  };
}

function row({ cursor, time, type, topic, source, data }) {
  const when = new Date(time);
  return el("tr", { "data-testid": "history-row", "data-cursor": cursor },
    el("td", {}, el("time", { datetime: time, title: time }, el("span", { class: "day" }, day(when)), " ", clock(when))),
    el("td", {}, typeChip(type ?? "message")),
    el("td", {}, topic ? el("code", {}, topic) : el("span", { class: "none" }, "everyone")),
    el("td", {}, source ? el("code", {}, source) : el("span", { class: "none" }, "–")),
    el("td", { class: "wide" }, dataView(data ?? "")),
    el("td", {}, el("code", { class: "cursor" }, cursor)));
}
