import { subscribe } from "/client/index.js";

const [login, inside, sendForm, list, state, problem] =
  ["login", "inside", "send", "list", "state", "problem"].map((id) => document.getElementById(id));
let subscription = null;

const post = (path, body = {}) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** A token for the stream. The session is in a cookie that no script can read; the token lives for minutes, and only in memory. */
async function token() {
  const answer = await post("/token");
  if (answer.status === 401) return null; // logged out: the subscription ends
  if (!answer.ok) throw new Error(`no token: ${answer.status}`);
  return (await answer.json()).token;
}

function show({ from, text, all }) {
  const [line, sender, content] = ["li", "b", "span"].map((name) => document.createElement(name));
  sender.textContent = all ? `${from} to everyone` : from;
  content.textContent = text;
  line.append(sender, content);
  list.prepend(line);
}

function loggedOut() {
  subscription?.close();
  subscription = null;
  list.replaceChildren();
  inside.hidden = true;
  login.hidden = false;
  state.textContent = "";
}

function loggedIn(user, events) {
  login.hidden = true;
  inside.hidden = false;
  // No topics: the token says what the user may read, and no page can ask for more.
  subscription = subscribe(events, {
    token, subject: user, types: ["notification"], from: "last:20",
    share: true, // one stream for all tabs of the user
    onEvent: ({ data }) => show(JSON.parse(data)),
    onState: (now, from) => {
      if (now.state === "closed" && from === subscription) return loggedOut();
      state.textContent = now.state === "open" ? user : "Connecting…";
      return undefined;
    },
  });
}

async function start() {
  const { user, events } = await (await fetch("/session")).json();
  if (user) loggedIn(user, events);
  else loggedOut();
}

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await post("/login", Object.fromEntries(new FormData(login)));
  problem.textContent = answer.ok ? "" : "Wrong user or password";
  if (!answer.ok) return;
  login.reset();
  await start();
});

sendForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { to, text } = Object.fromEntries(new FormData(sendForm));
  const answer = await post("/notifications", { to: to || null, text });
  if (answer.ok) sendForm.elements.text.value = "";
  else if (answer.status === 401) loggedOut();
});

// The server ends the streams of all tabs and devices; each then finds that it gets no token.
document.getElementById("logout").addEventListener("click", () => post("/logout"));

await start();
