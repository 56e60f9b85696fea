import { subscribe } from "/client/index.js";

const ENDS = { complete: "Complete", stopped: "Stopped", failed: "Failed: ask again" };

const config = fetch("/config.json").then((answer) => answer.json());
const [ask, stop, text, state] = ["ask", "stop", "answer", "state"].map((id) => document.getElementById(id));
let subscription = null;

const post = (path, body = {}) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Reads an answer from its first word: also after a reload, in another window, or when it is complete. */
async function read(answer) {
  const { events: url } = await config;
  subscription?.close();
  text.textContent = "";
  stop.hidden = false;
  subscription = subscribe(url, {
    topics: [`answer.${answer}`], types: ["token", "end"], from: "earliest",
    onEvent({ type, data }, from) {
      if (type === "token") text.append(JSON.parse(data)); // as text, whatever the model says
      else finish(from, ENDS[JSON.parse(data)]);
    },
    onState(now) {
      if (now.state !== "closed") state.textContent = now.state === "open" ? "Writing…" : "Connecting…";
    },
  });
}

function finish(from, how) {
  from.close(); // nothing follows
  stop.hidden = true;
  state.textContent = how;
}

ask.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await post("/answers", Object.fromEntries(new FormData(ask)));
  if (!answer.ok) return;
  // The address of the page names the answer, so that a reload finds it.
  location.hash = (await answer.json()).answer;
});

const current = () => /^#([0-9a-f]{32})$/.exec(location.hash)?.[1];
stop.addEventListener("click", () => post(`/answers/${current()}/stop`));
addEventListener("hashchange", () => current() && read(current()));
if (current()) read(current());
