// The form that publishes, and what the broker said to it.

import { curlCommand, looksLikeJson, publish, publishBatch, userTopic } from "./page-api.js";
import { byId, el, enable, isEnabled, number, plural, setText } from "./page-dom.js";

const BATCH = 10;

export function startSend({ onStored }) {
  const form = byId("send-form");
  const result = byId("send-result");
  const names = ["target", "user", "topic", "type", "source", "data", "ttl", "key"];
  const inputs = Object.fromEntries(names.map((name) => [name, byId(`send-${name}`)]));
  // What a problem calls the field that broke the rule.
  const fields = { topic: () => (inputs.target.value === "user" ? inputs.user : inputs.topic), type: () => inputs.type, source: () => inputs.source,
    ttl: () => inputs.ttl, data: () => inputs.data, body: () => inputs.data, "idempotency-key": () => inputs.key, id: () => inputs.key };
  let channel = null;

  function draft() {
    const topic = { broadcast: "", user: inputs.user.value.trim() && userTopic(inputs.user.value), topic: inputs.topic.value.trim() }[inputs.target.value];
    const [type, source, ttl, key] = ["type", "source", "ttl", "key"].map((name) => inputs[name].value.trim());
    return { topic, type, source, ttl, key, data: inputs.data.value };
  }

  function show() {
    const target = inputs.target.value;
    byId("send-everyone").hidden = target !== "broadcast";
    byId("send-user-field").hidden = target !== "user";
    byId("send-topic-field").hidden = target !== "topic";
    inputs.user.required = target === "user";
    inputs.topic.required = target === "topic";
    setText(byId("send-kind"), looksLikeJson(inputs.data.value) ? "JSON" : "text");
    setText(byId("curl"), channel ? curlCommand(channel, draft()) : "Choose a channel first.");
    enable(byId("send"), channel !== null);
    enable(byId("send-ten"), channel !== null);
  }

  function tell(tone, ...content) {
    result.className = `result ${tone}`;
    result.hidden = false;
    result.replaceChildren(...content.filter(Boolean));
  }

  function tellStored({ cursor, duplicate, events }) {
    const stored = events ?? [{ cursor, duplicate }];
    const duplicates = stored.filter((event) => event.duplicate).length;
    const cursors = stored.length > 1 ? [stored[0].cursor, " … ", stored.at(-1).cursor] : [stored[0]?.cursor ?? "–"];
    const many = stored.length > 1;
    const title = duplicates === stored.length ? "Stored before" : `Stored${many ? ` ${plural(stored.length - duplicates, "event")}` : ""}`;
    const badge = duplicates
      ? el("span", { class: "badge", "data-testid": "send-duplicate" }, many ? plural(duplicates, "duplicate") : "duplicate")
      : null;
    tell(duplicates ? "notable" : "good", el("p", {}, el("strong", {}, title), " ", badge),
      el("p", {}, "cursor ", el("code", { "data-testid": "send-cursor" }, ...cursors)));
  }

  function tellProblem(problem) {
    const facts = [["field", problem.field], ["limit", problem.limit], ["line", problem.line], ["status", problem.status || null],
      ["retry after", problem.retry_after === null ? null : `${problem.retry_after} s`],
      ["stored before", problem.events === null ? null : plural(problem.events.length, "event")]].filter(([, value]) => value !== null);
    tell("bad", el("p", {}, el("strong", {}, problem.title)), problem.detail ? el("p", {}, problem.detail) : null,
      el("p", { class: "chips" }, ...facts.map(([name, value]) => el("span", {}, `${name} `, el("code", {}, typeof value === "number" ? number(value) : String(value))))));
    if (problem.idempotency_key) {
      const repeat = el("button", { type: "button", class: "button small", "data-testid": "send-use-key" }, "Use its key and try again");
      repeat.addEventListener("click", () => {
        inputs.key.value = problem.idempotency_key;
        show();
        form.requestSubmit();
      });
      result.append(repeat);
    }
    const input = fields[String(problem.field).toLowerCase()]?.();
    input?.setAttribute("aria-invalid", "true");
  }

  async function send(button, request) {
    if (!isEnabled(button) || !channel || !form.reportValidity()) return;
    for (const input of Object.values(inputs)) input.removeAttribute("aria-invalid");
    form.setAttribute("aria-busy", "true");
    // One at a time: two quick presses are meant as two events, but only one answer can be shown.
    enable(button, false);
    try {
      tellStored(await request(channel, draft()));
      onStored();
    } catch (problem) {
      tellProblem(problem);
    } finally {
      form.removeAttribute("aria-busy");
      show();
    }
  }

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(byId("send"), publish);
  });
  byId("send-ten").addEventListener("click", () => send(byId("send-ten"), (to, what) => publishBatch(to, what,
    Array.from({ length: BATCH }, (_, index) => what.data.replaceAll("{{n}}", String(index + 1))))));
  byId("send-new-key").addEventListener("click", () => {
    // crypto.randomUUID is missing on plain HTTP, unless it is localhost.
    inputs.key.value = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    show();
  });
  byId("copy-curl").addEventListener("click", () => copy(byId("curl"), byId("copy-curl")));
  show();

  return {
    use(next) {
      channel = next;
      result.hidden = true;
      show();
    },
    useToken: show,
  };
}

async function copy(source, button) {
  let done;
  try {
    await navigator.clipboard.writeText(source.textContent);
    done = true;
  } catch {
    // No clipboard on plain HTTP: leave the text selected, and try the old way.
    getSelection().selectAllChildren(source);
    done = document.execCommand("copy");
  }
  setText(button, done ? "Copied" : "Selected: press Ctrl C");
  setTimeout(() => setText(button, "Copy"), 2000);
}
