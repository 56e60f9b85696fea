// Which channel the page looks at, and how that channel is.

import { listChannels, readChannel } from "./page-api.js";
import { byId, bytes, duration, el, number, setText } from "./page-dom.js";

const STATE_MS = 3000;
const LIST_MS = 15000;
const LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const HASH = new RegExp(`^#(${LABEL})/(${LABEL})$`);

// What an answer without the state of the channel says about it.
const STATES = { 401: "no access", 403: "no access", 404: "not found" };

const keyOf = ({ namespace, name }) => `${namespace}/${name}`;

function fromHash() {
  const match = HASH.exec(location.hash);
  return match && { namespace: match[1], name: match[2] };
}

export function startChannels({ onChange }) {
  const select = byId("channel");
  const notice = byId("notice");
  let known = [];
  let current = null;
  let listProblem = "";
  let stateProblem = "";
  let stateTimer = null;

  function tell() {
    let text = stateProblem;
    if (!current) text = listProblem || "This broker serves no channel yet. As soon as there is one it appears here.";
    notice.hidden = text === "";
    setText(notice, text);
  }

  function showList() {
    const options = current && !known.some((one) => keyOf(one) === keyOf(current)) ? [current, ...known] : known;
    const keys = options.map(keyOf);
    // Rebuilding an open menu under somebody's pointer would close it.
    if (keys.join() !== Array.from(select.options, (option) => option.value).join() || keys.length === 0) {
      select.replaceChildren(...(keys.length ? keys.map((key) => el("option", { value: key }, key)) : [el("option", { value: "" }, "no channel")]));
    }
    select.disabled = keys.length === 0;
    if (current) select.value = keyOf(current);
  }

  function use(channel) {
    if (current && keyOf(current) === keyOf(channel)) return;
    current = channel;
    stateProblem = "";
    showState({});
    // replaceState where nothing was chosen yet, so that Back leaves the page at the first press.
    const hash = `#${keyOf(channel)}`;
    if (location.hash !== hash) history[location.hash ? "pushState" : "replaceState"](null, "", hash);
    document.title = `${keyOf(channel)} · Eventcast`;
    showList();
    tell();
    onChange(channel);
    readState();
  }

  async function readList() {
    try {
      known = await listChannels();
      listProblem = "";
    } catch (problem) {
      if (problem.status === 404) {
        listProblem = "This broker does not list its channels. Add the one to look at to the address of this page: #namespace/name";
        tell();
        return;
      }
      listProblem = `The list of channels cannot be read. ${problem.detail || problem.title}`;
    }
    if (!current && known.length) use(known[0]);
    showList();
    tell();
    setTimeout(readList, current ? LIST_MS : STATE_MS);
  }

  function showState({ state = "…", events = NaN, bytes: size = NaN, subscribers = NaN, first = null, last = null, retention = null }) {
    const badge = byId("channel-state");
    setText(badge, state);
    badge.dataset.state = state;
    setText(byId("channel-events"), number(events));
    setText(byId("channel-bytes"), bytes(size));
    setText(byId("channel-subscribers"), number(subscribers));
    setText(byId("channel-retention"), retention ? kept(retention) : "–");
    setText(byId("channel-first"), first ?? "–");
    setText(byId("channel-last"), last ?? "–");
  }

  async function readState() {
    clearTimeout(stateTimer);
    const channel = current;
    // A page that nobody looks at need not ask.
    if (channel && !document.hidden) {
      try {
        const answer = await readChannel(channel);
        if (channel !== current) return;
        stateProblem = "";
        showState(answer);
      } catch (problem) {
        if (channel !== current) return;
        stateProblem = `${keyOf(channel)}: ${problem.detail || problem.title}`;
        showState({ state: STATES[problem.status] ?? "unreachable" });
      }
      tell();
    }
    clearTimeout(stateTimer);
    stateTimer = setTimeout(readState, STATE_MS);
  }

  select.addEventListener("change", () => {
    const chosen = known.find((one) => keyOf(one) === select.value);
    if (chosen) use(chosen);
  });
  addEventListener("hashchange", () => {
    const wanted = fromHash();
    if (wanted) use(wanted);
  });
  document.addEventListener("visibilitychange", () => document.hidden || readState());

  const wanted = fromHash();
  if (wanted) use(wanted);
  else showList();
  readList();

  return {
    // Somebody who just sent wants to see it counted, but not with a request for each of many.
    soon() {
      clearTimeout(stateTimer);
      stateTimer = setTimeout(readState, 300);
    },
  };
}

function kept({ max_age_seconds: age, max_bytes: size, max_events: events }) {
  const limits = [age && duration(age), size && bytes(size), events && `${number(events)} events`].filter(Boolean);
  return limits.length ? limits.join(", ") : "for ever";
}
