import { subscribe } from "/client/index.js";

const [form, list, waiting] = ["order", "orders", "waiting"].map((id) => document.getElementById(id));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  const answer = await fetch("/orders", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (answer.ok) form.reset();
});

setInterval(async () => {
  const answer = await fetch("/outbox").catch(() => null);
  if (answer?.ok) waiting.textContent = (await answer.json()).waiting;
}, 500);

const { events: url } = await (await fetch("/config.json")).json();
subscribe(url, {
  topics: ["orders"], types: ["order.placed"], from: "last:20",
  onEvent({ data }) {
    const { order, item } = JSON.parse(data);
    const line = document.createElement("li");
    line.textContent = `${order}: ${item}`;
    list.prepend(line);
  },
});
