// Traffic as a shop might have it, so that there is something to look at.

import { publish } from "./page-api.js";
import { byId, plural, setText } from "./page-dom.js";

const PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10000;
const PEOPLE = ["alice", "bob"];
const GOODS = ["espresso cup", "reading lamp", "wool socks", "notebook", "teapot"];
const STEPS = ["order.created", "order.paid", "order.shipped"];
const NEWS = ["Your parcel is on its way", "Someone answered your question", "A price you watch went down", "Your invoice is ready"];

const any = (list) => list[Math.floor(Math.random() * list.length)];

function* shop() {
  let order = 1000 + Math.floor(Math.random() * 9000);
  let price = 42;
  const open = [];
  for (;;) {
    const dice = Math.random();
    if (dice < 0.25) {
      price = Math.max(1, price + (Math.random() - 0.5) * 2);
      yield { topic: "", type: "tick", source: "/demo/ticker", data: { symbol: "TEA", price: Number(price.toFixed(2)) } };
    } else if (dice < 0.45) {
      const user = any(PEOPLE);
      yield { topic: `user.${user}`, type: "notification", source: "/demo/mailer", data: { to: user, text: any(NEWS) } };
    } else {
      if (open.length < 3) open.push({ order: (order += 1), user: any(PEOPLE), item: any(GOODS), total: 5 + Math.floor(Math.random() * 90), step: 0 });
      const one = open[Math.floor(Math.random() * open.length)];
      const { step, user, ...data } = one;
      one.step += 1;
      if (one.step === STEPS.length) open.splice(open.indexOf(one), 1);
      yield { topic: `user.${user}`, type: STEPS[step], source: "/demo/shop", data };
    }
  }
}

export function startDemo({ onStored }) {
  const toggle = byId("demo-toggle");
  const status = byId("demo-status");
  const events = shop();
  let channel = null;
  let run = 0;

  async function traffic(mine) {
    let sent = 0;
    let pause = PAUSE_MS;
    while (mine === run) {
      const event = events.next().value;
      try {
        await publish(channel, { ...event, ttl: "", key: "", data: JSON.stringify(event.data) });
        if (mine !== run) return;
        sent += 1;
        pause = PAUSE_MS;
        onStored();
        setText(status, `${plural(sent, "event")} sent`);
      } catch (problem) {
        if (mine !== run) return;
        // A demo must not add to the load of a broker that has too much of it.
        pause = Math.min(LONGEST_PAUSE_MS, Math.max(pause * 2, (problem.retry_after ?? 0) * 1000));
        setText(status, `waits ${Math.round(pause / 1000)} s: ${problem.title}`);
      }
      await new Promise((resolve) => setTimeout(resolve, pause * (0.6 + Math.random() * 0.8)));
    }
  }

  function set(on) {
    run += 1;
    toggle.setAttribute("aria-checked", String(on));
    setText(status, "");
    if (on) traffic(run);
  }

  toggle.addEventListener("click", () => set(toggle.getAttribute("aria-checked") !== "true" && channel !== null));

  return {
    // Traffic meant for one channel must not run on into another.
    use(next) {
      channel = next;
      set(false);
    },
  };
}
