// What the page knows of docs/HTTP.md: addresses, parameters, problems.

import { authorization, tokenOf } from "./page-credential.js";

const PATIENCE_MS = 20000;

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `status ${status}`);
    this.status = status;
    this.title = body.title || (status ? `The broker answered ${status}` : "No answer");
    this.detail = body.detail || "";
    for (const name of ["field", "limit", "line", "retry_after", "idempotency_key", "events"]) this[name] = body[name] ?? null;
  }
}

// Relative to the page, so that it also works behind an ingress that puts a prefix in front.
const absolute = (path) => new URL(path, document.baseURI).href;

const channelAddress = ({ namespace, name }) => absolute(`channels/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`);

// Topics and types hardly ever hold spaces or commas, and people separate by either.
export const words = (text) => text.split(/[\s,]+/).filter(Boolean);

export const userTopic = (user) => `user.${user.trim()}`;

export function filterParameters({ user = "", topics = "", types = "", sources = "" }) {
  const parameters = new URLSearchParams();
  if (user.trim()) parameters.append("topic", userTopic(user));
  for (const topic of words(topics)) parameters.append("topic", topic);
  for (const type of words(types)) parameters.append("type", type);
  for (const source of words(sources)) parameters.append("source", source);
  return parameters;
}

export function withParameters(address, parameters) {
  const query = parameters.toString();
  return query ? `${address}?${query}` : address;
}

export const streamAddress = (channel, parameters) => withParameters(`${channelAddress(channel)}/events`, parameters);

async function readProblem(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy in between may have answered in its own words; the status is all there is then.
  }
  const after = Number(response.headers.get("retry-after")) || undefined;
  return new Problem(response.status, { retry_after: after, ...(typeof body === "object" ? body : {}) });
}

// With the token of the channel, if there is one.
async function ask(channel, address, { headers = {}, ...options } = {}) {
  let response;
  try {
    response = await fetch(address, {
      cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS), headers: { accept: "application/json", ...headers, ...authorization(channel) }, ...options,
    });
  } catch (error) {
    const detail = error.name === "TimeoutError"
      ? "No answer came in time. Browsers open at most 6 connections to one origin over HTTP/1.1: another tab with subscribers may hold them all."
      : "The broker cannot be reached from here.";
    throw new Problem(0, { title: "No answer", detail });
  }
  if (!response.ok) throw await readProblem(response);
  try {
    return await response.json();
  } catch {
    throw new Problem(response.status, { title: "Not an answer of the broker", detail: "What came back is not JSON." });
  }
}

export const listChannels = async () => (await ask(null, absolute("channels"))).channels ?? [];
export const readChannel = (channel) => ask(channel, channelAddress(channel));
export const readHistory = (channel, parameters) => ask(channel, streamAddress(channel, parameters));
export const readStats = (channel, parameters) => ask(channel, withParameters(`${channelAddress(channel)}/stats`, parameters));

export const readAccess = (channel) => ask(channel, `${channelAddress(channel)}/access`);

export function looksLikeJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

// Made apart from sending it, so that the curl command shown is the very request the page sends.
export function publishRequest(channel, { topic, type, source, ttl, key, data }) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ type, topic, source, ttl })) {
    if (value) parameters.set(name, value);
  }
  return { address: streamAddress(channel, parameters), key: key || null, data };
}

function post(channel, { address, key }, contentType, body) {
  const headers = { "content-type": contentType };
  if (key) headers["idempotency-key"] = key;
  return ask(channel, address, { method: "POST", headers, body });
}

export function publish(channel, draft) {
  const request = publishRequest(channel, draft);
  return post(channel, request, looksLikeJson(draft.data) ? "application/json" : "text/plain; charset=utf-8", draft.data);
}

export function publishBatch(channel, draft, items) {
  const lines = items.map((data) => JSON.stringify({ data }));
  return post(channel, publishRequest(channel, draft), "application/x-ndjson", `${lines.join("\n")}\n`);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curlCommand(channel, draft) {
  const { address, key, data } = publishRequest(channel, draft);
  // curl takes -d @name for a file.
  const body = `${data.startsWith("@") ? "--data-raw" : "-d"} ${quoted(data)}`;
  const headers = key ? [quoted(`Idempotency-Key: ${key}`)] : [];
  // The name of the token and not the token: commands are shown, copied and kept by shells.
  if (tokenOf(channel)) headers.unshift('"Authorization: Bearer $TOKEN"');
  const header = headers.map((text) => ` \\\n  -H ${text}`).join("");
  // Dots, colons and slashes may stand in a query as they are; %2F in an example only frightens.
  const readable = address.replaceAll("%2F", "/").replaceAll("%3A", ":");
  return `curl ${body}${header} \\\n  ${quoted(readable)}`;
}
