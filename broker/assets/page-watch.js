// The subscribers of the page, side by side.

import { byId, enable, isEnabled, setText } from "./page-dom.js";
import { Pane } from "./page-pane.js";

// Two of the six connections stay free: without them neither sending nor the statistics would get an answer.
const MOST_PANES = 4;
const WHY = "A browser opens at most 6 connections to one origin over HTTP/1.1, all its tabs together. Four subscribers leave two for sending and asking.";

export function startWatch() {
  const template = byId("pane-template");
  const box = byId("panes");
  const add = byId("add-pane");
  const panes = new Map();
  let channel = null;

  function show() {
    const full = panes.size >= MOST_PANES;
    enable(add, !full);
    add.title = full ? WHY : `Up to ${MOST_PANES}. ${WHY}`;
    setText(byId("pane-limit"), full ? `${MOST_PANES} at most: a browser has 6 connections to one origin, and sending needs one too.` : "");
    byId("no-panes").hidden = panes.size > 0;
  }

  function addPane() {
    let index = 1;
    while (panes.has(index)) index += 1;
    const pane = new Pane(template, `Subscriber ${index}`, () => {
      panes.delete(index);
      show();
      add.focus();
    });
    panes.set(index, pane);
    box.append(pane.element);
    if (channel) pane.use(channel);
    show();
    return pane;
  }

  add.addEventListener("click", () => isEnabled(add) && addPane().focus());
  setInterval(() => panes.forEach((pane) => pane.tick()), 1000);
  addPane();

  return {
    use(next) {
      channel = next;
      panes.forEach((pane) => pane.use(next));
    },
    useToken: (isSameClient) => panes.forEach((pane) => pane.useToken(isSameClient)),
    reconnect: () => panes.forEach((pane) => pane.reconnect()),
  };
}
