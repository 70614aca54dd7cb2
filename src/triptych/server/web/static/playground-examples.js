// The drawn examples, and questions that can be asked with one press.

import { make } from "./playground-turn.js";

/** `ask(text)` sends a question, `drawn(blob, file, alt)` takes the picture in, `refused(text)` says what is wrong. */
export class Examples {
  constructor(gallery, questions, { ask, drawn, refused }) {
    Object.assign(this, { gallery, questions, ask, drawn, refused });
    gallery.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.draw(button);
    });
  }

  /** Where a drawing is served. */
  address(file) {
    return this.gallery.dataset.from + file;
  }

  /** What can be tried with a model: drawings, or without eyes the questions `instead`. */
  offer({ sees, tiles }, instead) {
    this.gallery.hidden = !sees;
    // What is written small is in the tiles of LLaVA 1.6 alone.
    for (const drawn of this.gallery.querySelectorAll("[data-small]")) drawn.hidden = !tiles;
    this.suggest(instead);
  }

  async draw(button) {
    const { file } = button.dataset;
    const answer = await fetch(this.address(file)).catch(() => null);
    if (!answer?.ok) {
      this.refused("The drawing cannot be loaded from the server.");
      return;
    }
    this.drawn(await answer.blob(), file, button.querySelector("img").alt);
    this.choose(button);
  }

  /** Marks the drawing that is chosen, if one is, and puts its questions beside the message. */
  choose(button) {
    for (const each of this.gallery.querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === button));
    this.suggest(button ? JSON.parse(button.dataset.questions) : []);
  }

  suggest(texts) {
    const buttons = texts.map((text) => make("button", { type: "button", className: "play-chip", textContent: text }));
    for (const button of buttons) button.addEventListener("click", () => this.ask(button.textContent));
    this.questions.replaceChildren(...buttons);
    this.questions.hidden = !buttons.length;
  }

  /** While an answer comes nothing else can be asked. */
  busy(now) {
    for (const button of this.questions.querySelectorAll("button")) button.setAttribute("aria-disabled", String(now));
  }
}
