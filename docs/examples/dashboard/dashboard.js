import { subscribe } from "/client/index.js";

const METRICS = { heap: "Heap (MiB)", goroutines: "Goroutines", requests: "Requests", deploys: "Deploys" };

/** A tile with the newest value of a metric: the last one that was published, however long ago, and then each that follows. */
function tile(url, metric, title) {
  const [box, name, value, time] = ["section", "h1", "output", "time"].map((element) => document.createElement(element));
  box.id = metric;
  name.textContent = title;
  value.textContent = "–";
  box.append(name, value, time);
  document.getElementById("tiles").append(box);
  subscribe(url, {
    topics: [`metric.${metric}`], types: ["metric"], from: "last:1",
    share: true, // browsers open six connections to a host over HTTP/1.1, for all tabs together
    onEvent({ data }) {
      const { value: newest, at } = JSON.parse(data);
      value.textContent = Number.isInteger(newest) ? newest : newest.toFixed(2);
      time.textContent = new Date(at).toLocaleTimeString();
      time.dateTime = at;
    },
    onState: ({ state }) => { box.classList.toggle("pending", state !== "open"); },
  });
}

document.getElementById("deploy").addEventListener("click", () =>
  fetch("/deploys", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }));

const { events: url } = await (await fetch("/config.json")).json();
for (const [metric, title] of Object.entries(METRICS)) tile(url, metric, title);
