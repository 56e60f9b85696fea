import { startAccess } from "./page-access.js";
import { startChannels } from "./page-channel.js";
import { startDemo } from "./page-demo.js";
import { byId } from "./page-dom.js";
import { startHistory } from "./page-history.js";
import { startSend } from "./page-send.js";
import { startStats } from "./page-stats.js";
import { startWatch } from "./page-watch.js";

let channels = null;
let current = null;
const onStored = () => channels?.soon();

const [watch, send, stats, history] = [startWatch(), startSend({ onStored }), startStats(), startHistory()];
const access = startAccess({
  onToken(isSameClient) {
    watch.useToken(isSameClient);
    send.useToken();
    stats.use(current);
    // What one client read is not for the next one.
    if (!isSameClient) history.use(current);
    channels.soon();
  },
  onTicket: watch.reconnect,
});
const parts = [access, watch, send, startDemo({ onStored }), stats, history];
channels = startChannels({
  onChange(channel) {
    current = channel;
    parts.forEach((part) => part.use(channel));
  },
});

// Not links to #…: the hash names the channel.
for (const button of document.querySelectorAll("[data-goto]")) {
  button.addEventListener("click", () => {
    const part = byId(button.dataset.goto);
    part.scrollIntoView();
    part.focus({ preventScroll: true });
  });
}
