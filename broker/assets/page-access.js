// The credential of the channel, and what it grants.

import { readAccess } from "./page-api.js";
import { chooseTicket, keepToken, tokenOf, usesTicket } from "./page-credential.js";
import { byId, duration, el, enable, isEnabled, setText } from "./page-dom.js";

// onToken(isSameClient): another token is used. onTicket(): streams are to carry their credential in another way.
export function startAccess({ onToken, onTicket }) {
  const field = (name) => byId(`access-${name}`);
  let channel = null;
  let grant = null;
  let run = 0;

  async function read() {
    const mine = (run += 1);
    const of = channel;
    let [answer, problem] = [null, null];
    try {
      answer = await readAccess(of);
    } catch (error) {
      problem = error;
    }
    if (mine !== run) return null;
    grant = answer;
    show(problem);
    return grant;
  }

  function show(problem = null) {
    const token = channel ? tokenOf(channel) : "";
    field("token").placeholder = token ? "kept for this tab" : "none";
    enable(field("forget"), token !== "");
    enable(field("ticket"), token !== "");
    field("ticket").setAttribute("aria-checked", String(channel !== null && usesTicket(channel)));
    field("problem").hidden = problem === null;
    if (problem) setText(field("problem"), [problem.title, problem.detail].filter(Boolean).join(": "));
    field("grant").hidden = grant === null;
    if (grant === null) return;
    setText(field("client"), grant.subject ? `${grant.subject}${grant.issuer ? ` of ${grant.issuer}` : ""}` : grant.way);
    field("reads").replaceChildren(...rule(grant.subscribe));
    field("publishes").replaceChildren(...rule(grant.publish));
    setText(field("manages"), grant.manage ? "yes" : "no");
    tick();
  }

  function tick() {
    if (grant === null) return;
    const left = grant.expires_at ? Math.ceil((Date.parse(grant.expires_at) - Date.now()) / 1000) : null;
    setText(field("ends"), left === null ? "never" : `in ${duration(Math.max(0, left))}`);
    // The broker says best why it is over.
    if (left !== null && left < 0) {
      grant = null;
      read();
    }
  }

  async function use(token) {
    if (!channel) return;
    const before = clientOf(grant);
    keepToken(channel, token);
    field("token").value = "";
    const answer = await read();
    const after = clientOf(answer);
    onToken(after !== null && after === before);
  }

  field("form").addEventListener("submit", (event) => {
    event.preventDefault();
    // Copied from a header, it may have the name of the scheme in front.
    const token = field("token").value.trim().replace(/^bearer\s+/i, "");
    if (token !== "") use(token);
  });
  field("forget").addEventListener("click", () => isEnabled(field("forget")) && use(""));
  field("ticket").addEventListener("click", () => {
    if (!isEnabled(field("ticket"))) return;
    chooseTicket(channel, !usesTicket(channel));
    show();
    onTicket();
  });
  setInterval(tick, 1000);

  return {
    use(next) {
      channel = next;
      grant = null;
      field("token").value = "";
      show();
      read();
    },
  };
}

// Who a grant is for; null if nobody was told apart.
const clientOf = (grant) => (grant?.subject ? JSON.stringify([grant.way, grant.issuer, grant.subject]) : null);

// A rule of a grant, as text and code.
function rule(granted) {
  if (granted === null) return ["nothing"];
  const { topics, broadcast, types = [], source = null } = granted;
  const everything = topics.includes(">");
  const parts = everything ? [broadcast ? "everything" : "every topic"] : listed(topics);
  if (!everything && broadcast) parts.push(parts.length ? " and broadcasts" : "broadcasts");
  if (types.length) parts.push(" of type ", ...listed(types));
  if (source) parts.push(" as ", el("code", {}, source));
  return parts.length ? parts : ["nothing"];
}

const listed = (words) => words.flatMap((word, index) => [...(index ? [", "] : []), el("code", {}, word)]);
