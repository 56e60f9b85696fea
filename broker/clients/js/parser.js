// The event stream format of the HTML standard (9.2.6): text in chunks of any size -> blocks; and JSON. Pure.

const LINE_END = /\r\n|\n|\r/g;

/** The block that is being read is larger than the parser was told to accept. */
export class TooLarge extends Error {}

export class SseParser {
  /** The last valid `retry:`, in milliseconds. */
  retry = null;

  // Parts of a line that has not ended: joined once, however small the chunks are.
  #begun = [];
  #begunLength = 0;
  #skipLineFeed = false;
  #type = "";
  #data = [];
  #length = 0;
  #id;
  #maxLength;

  /** lastEventId: what an event without `id:` has. maxLength: of a line, and of the data of an event, in UTF-16 units. */
  constructor(lastEventId = "", maxLength = Infinity) {
    this.#id = lastEventId;
    this.#maxLength = maxLength;
  }

  /** Gives the blocks that end in this chunk: `{type, data, cursor}`; `data` is null for a block that only moves the cursor. */
  push(text) {
    const blocks = [];
    // A CR that ended the last chunk may be half of a CR LF.
    if (this.#skipLineFeed && text !== "") {
      if (text[0] === "\n") text = text.slice(1);
      this.#skipLineFeed = false;
    }
    let start = 0;
    LINE_END.lastIndex = 0;
    for (let end = LINE_END.exec(text); end; end = LINE_END.exec(text)) {
      const rest = text.slice(start, end.index);
      this.#bound(this.#begunLength + rest.length);
      this.#line(this.#begun.length > 0 ? this.#begun.join("") + rest : rest, blocks);
      this.#begun = [];
      this.#begunLength = 0;
      start = LINE_END.lastIndex;
      if (end[0] === "\r" && start === text.length) this.#skipLineFeed = true;
    }
    if (start < text.length) this.#begun.push(text.slice(start));
    this.#begunLength += text.length - start;
    this.#bound(this.#begunLength);
    return blocks;
  }

  #bound(lineLength) {
    if (this.#length + lineLength > this.#maxLength) throw new TooLarge(`an event is larger than ${this.#maxLength} characters`);
  }

  #line(line, blocks) {
    if (line === "") return this.#dispatch(blocks);
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "event") this.#type = value;
    else if (name === "data") {
      this.#data.push(value);
      this.#length += value.length + 1;
    } else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
    return undefined;
  }

  #dispatch(blocks) {
    const data = this.#data.length > 0 ? this.#data.join("\n") : null;
    blocks.push({ type: this.#type || "message", data, cursor: this.#id });
    this.#type = "";
    this.#data = [];
    this.#length = 0;
  }
}

/** The value of a text; null if it is not JSON. */
export function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
