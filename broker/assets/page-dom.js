// Everything that came over the wire reaches the document through here, and only as text.

const SHOWN_CHARACTERS = 4000;
const FOLD_CHARACTERS = 220;
const FOLD_LINES = 3;

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Writing the same text again would make screen readers repeat live regions and throw away a reader's selection.
export function setText(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

// A really disabled button loses the keyboard focus that just pressed it, and shows no tooltip saying why.
export function enable(button, enabled) {
  if (enabled) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

export const isEnabled = (button) => button.getAttribute("aria-disabled") !== "true";

const grouped = new Intl.NumberFormat("en");
export const number = (value) => (Number.isFinite(value) ? grouped.format(value) : "–");

export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (value >= 1024 && step < units.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  for (const [size, unit] of steps) {
    if (seconds >= size) return `${Math.round((seconds / size) * 10) / 10} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

const two = (value) => String(value).padStart(2, "0");

export function clock(date) {
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
export const minute = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

// The same type has the same colour in every pane and table, without anybody having to register it.
export function typeChip(type) {
  let hash = 7;
  for (const character of type) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return el("span", { class: `type hue-${hash % 6}`, title: type }, type);
}

// 200 rows of 256 KiB would make the page crawl, so what is long is cut, and says so.
export function dataView(data) {
  const shown = data.length > SHOWN_CHARACTERS ? data.slice(0, SHOWN_CHARACTERS) : data;
  const pre = el("pre", { class: data === "" ? "data none" : "data" }, data === "" ? "empty" : shown);
  const view = el("div", { class: "data-view" }, pre);
  if (data.length > FOLD_CHARACTERS || data.split("\n", FOLD_LINES + 1).length > FOLD_LINES) {
    pre.classList.add("folded");
    const button = el("button", { type: "button", class: "link", "aria-expanded": "false" }, "more");
    button.addEventListener("click", () => {
      const folded = pre.classList.toggle("folded");
      button.setAttribute("aria-expanded", String(!folded));
      button.textContent = folded ? "more" : "less";
    });
    view.append(button);
  }
  if (shown !== data) view.append(el("p", { class: "hint" }, `and ${number(data.length - shown.length)} more characters, not shown`));
  return view;
}
