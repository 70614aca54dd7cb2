// What is measured of one answer, here in the browser, and what the server counted of it.

const LOCALE = "en";

/** The clock of one call, and its usage once the server has told it. Times are milliseconds; `start` is what the model
 * took to start, if it had to: `starting` says so.
 */
export class Measured {
  constructor() {
    Object.assign(this, { sent: performance.now(), first: 0, last: 0, ended: 0, early: 0, tokens: 0, usage: null, starting: false, start: 0 });
  }

  /** A chunk of the stream came in; `text` says that it brought some of the answer. */
  chunk({ usage, choices }, text) {
    if (text) {
      this.last = performance.now();
      this.first ||= this.last;
      this.ready(this.last);
    }
    this.tokens = usage?.completion_tokens ?? this.tokens + (text ? 1 : 0);
    if (text && this.first === this.last) this.early = this.tokens;
    if (usage && !choices?.length) this.usage = usage;
  }

  /** The model answers, or is known to be able to. */
  ready(now) {
    if (this.starting) this.start ||= now - this.sent;
  }

  end() {
    this.ended = performance.now();
  }

  /** Tokens per second behind the first piece; null where there is too little to tell. */
  get speed() {
    const passed = this.last - this.first, more = this.tokens - this.early;
    return more > 0 && passed > 1 ? more / (passed / 1000) : null;
  }
}

/** The measures as [name, value, what it means], in the order in which they are shown. */
export function told(measured) {
  const { sent, first, ended, start, tokens, speed, usage } = measured;
  const rows = [];
  if (start) rows.push(["Model start", seconds(start), "The model was not running: this is how long it took to load"]);
  if (first) rows.push(["First token", seconds(first - sent), "From sending to the first piece of the answer"]);
  if (speed !== null) rows.push(["Speed", `${rounded(speed)} tokens/s`, "Tokens per second behind the first piece"]);
  if (ended) rows.push(["In all", seconds(ended - sent), "From sending to the end"]);
  rows.push(["Generated", count(tokens), "Tokens of the answer"]);
  if (usage) rows.push(["Prompt", prompt(usage), "Tokens of the whole conversation, and which of them are of what kind"]);
  if (usage) rows.push(["Cost", cost(usage), "By the price that the server has for this model"]);
  return rows;
}

function prompt({ prompt_tokens: all, prompt_tokens_details: parts }) {
  const kinds = [];
  if (parts?.image_tokens) kinds.push(`${whole(parts.image_tokens)} of pictures`);
  if (parts?.cached_tokens) kinds.push(`${whole(parts.cached_tokens)} cached`);
  return `${count(all)}${kinds.length ? ` (${kinds.join(", ")})` : ""}`;
}

function cost({ cost: dollars }) {
  if (typeof dollars !== "number") return "not priced";
  return dollars === 0 ? "$0" : `$${dollars.toLocaleString(LOCALE, { maximumSignificantDigits: 3, maximumFractionDigits: 12 })}`;
}

export function seconds(milliseconds) {
  return milliseconds < 995 ? `${Math.max(1, Math.round(milliseconds))} ms` : `${(milliseconds / 1000).toFixed(milliseconds < 9950 ? 2 : 1)} s`;
}

const whole = (number) => number.toLocaleString(LOCALE);
const count = (tokens) => `${whole(tokens)} token${tokens === 1 ? "" : "s"}`;
const rounded = (number) => (number < 10 ? number.toFixed(1) : whole(Math.round(number)));
