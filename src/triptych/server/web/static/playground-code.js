// The same call as code: what the server makes of it, for the dialect and the language that are chosen.

import { make } from "./playground-turn.js";

const PAUSE = 250;

/** `call()` gives the call, with `files`: its pictures as [name, address to load it from or ""]. */
export class Code {
  constructor(part, call) {
    Object.assign(this, { part, call, made: [], trouble: "", timer: 0, asked: 0 });
    this.choices = part.querySelector("form");
    this.blocks = Object.fromEntries(["needs", "code"].map((name) => [name, part.querySelector(`[data-block=${name}]`)]));
    this.note = part.querySelector("[data-note]");
    this.files = part.querySelector("[data-files]");
    this.choices.addEventListener("change", ({ target }) => (target.name === "stream" ? this.refresh() : this.show()));
    this.choices.addEventListener("submit", (event) => event.preventDefault());
    part.addEventListener("toggle", () => this.refresh());
  }

  /** Something of the call may have changed: the code follows after a short pause, if it is to be seen. */
  changed() {
    clearTimeout(this.timer);
    if (this.part.open) this.timer = setTimeout(() => this.refresh(), PAUSE);
  }

  async refresh() {
    if (!this.part.open) return;
    const asked = (this.asked += 1);
    const { files, ...call } = { ...this.call(), stream: this.choices.elements.stream.checked };
    let made, trouble = "";
    try {
      const headers = { "content-type": "application/json", accept: "application/json" };
      const answer = await fetch(this.part.dataset.from, { method: "POST", headers, body: JSON.stringify(call) });
      made = answer.ok ? await answer.json() : [];
      if (!answer.ok) trouble = `The server did not write the code: it answered with the status ${answer.status}.`;
    } catch {
      [made, trouble] = [[], "The server cannot be reached, so the code is not up to date."];
    }
    if (asked !== this.asked) return;
    this.made = made;
    this.trouble = trouble;
    this.show();
    this.tell(files);
  }

  show() {
    const { dialect, language } = Object.fromEntries(new FormData(this.choices));
    const found = this.made.find((each) => each.dialect === dialect && each.language === language);
    for (const [name, block] of Object.entries(this.blocks)) {
      const text = found?.[name] ?? "";
      block.hidden = !text;
      block.querySelector("code").textContent = text;
      block.querySelector("button.copy").dataset.copy = text;
    }
    this.note.textContent = found?.note ?? this.trouble;
    this.note.hidden = !this.note.textContent;
  }

  /** Which files the code reads, and where those that were drawn here can be had. */
  tell(files) {
    const names = files.map(([name, address]) =>
      address ? make("a", { href: address, download: name, textContent: name }) : make("code", { textContent: name }));
    const listed = names.flatMap((name, place) => (place ? [", ", name] : [name]));
    this.files.replaceChildren(...(listed.length ? ["It reads from the folder in which it runs: ", ...listed, "."] : []));
  }
}
