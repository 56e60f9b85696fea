// The token of each channel. It is kept for this tab alone and sent in a header alone: never in a URL, never for another channel.

// Where the browser stores nothing for a page, what was chosen lasts as long as the page.
const memory = new Map();

const keyOf = (what, { namespace, name }) => `eventcast.${what} ${namespace}/${name}`;

function read(key) {
  try {
    return sessionStorage.getItem(key) ?? "";
  } catch {
    return memory.get(key) ?? "";
  }
}

function write(key, text) {
  try {
    if (text) sessionStorage.setItem(key, text);
    else sessionStorage.removeItem(key);
  } catch {
    memory.set(key, text);
  }
}

export const tokenOf = (channel) => read(keyOf("token", channel));
export const keepToken = (channel, token) => write(keyOf("token", channel), token);

// Streams then carry a ticket in their URL, as an EventSource has to.
export const usesTicket = (channel) => read(keyOf("ticket", channel)) !== "" && tokenOf(channel) !== "";
export const chooseTicket = (channel, chosen) => write(keyOf("ticket", channel), chosen ? "yes" : "");

export function authorization(channel) {
  const token = channel ? tokenOf(channel) : "";
  return token ? { authorization: `Bearer ${token}` } : {};
}
