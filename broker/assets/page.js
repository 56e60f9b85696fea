import { startChannels } from "./page-channel.js";
import { startDemo } from "./page-demo.js";
import { byId } from "./page-dom.js";
import { startHistory } from "./page-history.js";
import { startSend } from "./page-send.js";
import { startStats } from "./page-stats.js";
import { startWatch } from "./page-watch.js";

let channels = null;
const onStored = () => channels?.soon();

const parts = [startWatch(), startSend({ onStored }), startDemo({ onStored }), startStats(), startHistory()];
channels = startChannels({ onChange: (channel) => parts.forEach((part) => part.use(channel)) });

// Not links to #…: the hash names the channel.
for (const button of document.querySelectorAll("[data-goto]")) {
  button.addEventListener("click", () => {
    const part = byId(button.dataset.goto);
    part.scrollIntoView();
    part.focus({ preventScroll: true });
  });
}
