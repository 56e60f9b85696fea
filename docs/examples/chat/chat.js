import { subscribe } from "/client/index.js";

const HISTORY = 20; // messages that a newcomer sees
const RETRY_MS = 1000;

const config = fetch("/config.json").then((answer) => answer.json());
const [join, write, list, state] = ["join", "write", "messages", "state"].map((id) => document.getElementById(id));
let me = null;

/** The line of a message: new, or the one that its sender sees already. Text stays text: textContent, never innerHTML. */
function lineOf(id) {
  const known = list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  if (known) return known;
  const line = document.createElement("li");
  line.dataset.id = id;
  line.append(document.createElement("b"), document.createElement("span"));
  return line;
}

function show({ id, name, text }, pending) {
  const line = lineOf(id);
  line.classList.toggle("pending", pending);
  line.children[0].textContent = name;
  line.children[1].textContent = text;
  list.append(line); // a message that was pending moves to its place in the log
  line.scrollIntoView({ block: "nearest" });
}

function notice(text) {
  const line = document.createElement("li");
  line.className = "notice";
  line.textContent = text;
  list.append(line);
}

/** Sends until it is stored. The same id every time: a message whose answer was lost is not stored twice. */
async function send(message) {
  for (;;) {
    const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(message) };
    const answer = await fetch("/messages", request).catch(() => null);
    if (answer?.ok) return;
    if (answer && answer.status < 500) return notice(`Not sent: ${message.text}`);
    await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
  }
}

join.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { events: url } = await config;
  me = Object.fromEntries(new FormData(join));
  join.hidden = true;
  write.hidden = false;
  write.elements.text.focus();
  // The newest messages first, then all that follow. After a lost connection the client resumes at its cursor: no message is
  // missing, and none comes twice.
  subscribe(url, {
    topics: [`room.${me.room}`], types: ["chat.message"], from: `last:${HISTORY}`,
    onEvent: ({ data }) => show(JSON.parse(data), false),
    onGap: () => notice("Some messages are too old to be shown."),
    onState: (now) => { state.textContent = now.state === "open" ? `In ${me.room}` : "Connecting…"; },
  });
});

// One after the other, so that they stay in order.
let sending = Promise.resolve();
write.addEventListener("submit", (event) => {
  event.preventDefault();
  const message = { id: crypto.randomUUID(), ...me, text: write.elements.text.value };
  show(message, true);
  sending = sending.then(() => send(message));
  write.reset();
});
