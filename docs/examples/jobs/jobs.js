import { useChannel } from "/client/react.js";
import htm from "/vendor/htm.js";

const { createElement, Fragment, useEffect, useState } = window.React;
const html = htm.bind(createElement); // JSX without a compiler
const { events: url } = await (await fetch("/config.json")).json();

const startJob = () => fetch("/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
const ENDS = { "job.done": "Done", "job.failed": "Failed" };

/** What the events of one job say. They are all there is: a tab that opens later, or after the end, sees the same. */
function stateOf(events) {
  const of = (type) => events.filter((event) => event.type === type).map(({ data }) => JSON.parse(data));
  const end = events.find(({ type }) => type in ENDS);
  return {
    percent: of("job.progress").at(-1)?.percent ?? 0,
    lines: of("job.log").map(({ line }) => line),
    state: end ? ENDS[end.type] : "Running",
    problem: of("job.failed")[0]?.reason,
  };
}

function Job({ id }) {
  // From the first event of the job. The tabs that look at it share one stream.
  const { events, state: stream } = useChannel(url, { topics: [`job.${id}`], from: "earliest", keep: 1000, share: true });
  const { percent, lines, state, problem } = stateOf(events);
  return html`<section>
    <header><b id="job-state">${state}${problem && ` (${problem})`}</b> <span className="state">${stream === "open" ? "" : "Connecting…"}</span></header>
    <progress id="progress" max="100" value=${percent}></progress> <span id="percent">${percent} %</span>
    <ol id="log">${lines.map((line, index) => html`<li key=${index}>${line}</li>`)}</ol>
  </section>`;
}

function App() {
  const [selected, select] = useState(location.hash.slice(1));
  const { events } = useChannel(url, { topics: ["job.*"], types: ["job.started", "job.done", "job.failed"], from: "last:50", share: true });
  useEffect(() => {
    const follow = () => select(location.hash.slice(1));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const start = async () => { location.hash = (await (await startJob()).json()).job; };
  const jobs = events.map(({ type, data }) => ({ type, ...JSON.parse(data) }));
  const started = jobs.filter(({ type }) => type === "job.started").reverse();
  const endOf = (id) => ENDS[jobs.find(({ type, job }) => job === id && type in ENDS)?.type] ?? "Running";
  return html`<${Fragment}>
    <header><h1>Jobs</h1><button id="start" onClick=${start}>Start a job</button></header>
    ${selected && html`<${Job} key=${selected} id=${selected} />`}
    <ul id="jobs">${started.map(({ job, at }) => html`<li key=${job}><a href=${`#${job}`}>${new Date(at).toLocaleTimeString()}</a> ${endOf(job)}</li>`)}</ul>
  </${Fragment}>`;
}

window.ReactDOM.createRoot(document.getElementById("root")).render(html`<${App} />`);
