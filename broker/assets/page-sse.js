// The event stream format of the HTML standard (9.2.6), for a stream read with fetch: EventSource hands out only types
// that somebody asked for by name, and this page is there to see all of them.

const LONGEST_LINE = 16 * 1024 * 1024;

export class SseParser {
  #buffer = "";
  #skipLineFeed = false;
  #type = "";
  #data = [];
  #id;
  #handlers;

  // handlers: event({type, data, cursor}), cursor(id), retry(milliseconds)
  constructor(lastEventId, handlers) {
    this.#id = lastEventId;
    this.#handlers = handlers;
  }

  push(text) {
    // A CR that ended the last chunk may be half of a CR LF.
    if (this.#skipLineFeed && text !== "") {
      if (text[0] === "\n") text = text.slice(1);
      this.#skipLineFeed = false;
    }
    this.#buffer += text;
    let start = 0;
    const ends = /\r\n|\n|\r/g;
    for (let end = ends.exec(this.#buffer); end; end = ends.exec(this.#buffer)) {
      this.#line(this.#buffer.slice(start, end.index));
      start = ends.lastIndex;
      if (end[0] === "\r" && start === this.#buffer.length) this.#skipLineFeed = true;
    }
    this.#buffer = this.#buffer.slice(start);
    if (this.#buffer.length > LONGEST_LINE) throw new Error("a line of the stream does not end");
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#handlers.retry(Number(value));
    return undefined;
  }

  #dispatch() {
    const event = { type: this.#type || "message", data: this.#data.join("\n"), cursor: this.#id };
    const any = this.#data.length > 0;
    this.#type = "";
    this.#data = [];
    // The cursor moves even where there is nothing to hand out.
    this.#handlers.cursor(this.#id);
    if (any) this.#handlers.event(event);
  }
}
