// One question and its answer, in the conversation. All that people or models wrote goes in as text, never as HTML.

import { told } from "./playground-numbers.js";
import { thumbnail } from "./playground-pictures.js";

/** Makes an element; `inside` are elements or texts. */
export function make(kind, properties = {}, ...inside) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...inside);
  return made;
}

/** `pictures` are those of `Pictures`; `again()` is called when the answer is to be tried again. */
export class Turn {
  constructor(list, text, pictures, again) {
    Object.assign(this, { text, pictures, answer: "", state: "waiting" });
    const shown = make("ul", { className: "play-pictures" }, ...pictures.map((each) => make("li", {}, thumbnail(each))));
    shown.hidden = !pictures.length;
    this.who = make("p", { className: "play-who" });
    this.said = make("p", { className: "play-text" });
    this.trouble = make("p", { className: "play-trouble", hidden: true });
    this.numbers = make("dl", { className: "play-numbers" });
    this.copy = make("button", { type: "button", className: "copy quiet", textContent: "Copy" });
    this.again = make("button", { type: "button", className: "quiet", textContent: "Try again" });
    this.again.addEventListener("click", again);
    this.actions = make("div", { className: "play-actions" }, this.copy, this.again);
    this.question = make("li", { className: "play-question" }, make("p", { className: "play-who", textContent: "You" }), shown,
      make("p", { className: "play-text", textContent: text }));
    this.line = make("li", { className: "play-answer" }, this.who, this.said, this.trouble, this.numbers, this.actions);
    list.append(this.question, this.line);
  }

  /** Whether this is part of the conversation that a next question goes on with. */
  get kept() {
    return this.state === "done" || (this.state === "stopped" && this.answer !== "");
  }

  begin(model) {
    Object.assign(this, { model, answer: "", state: "waiting" });
    this.line.dataset.state = this.state;
    this.name(model);
    this.words = document.createTextNode("");
    this.said.replaceChildren(this.words);
    this.trouble.hidden = this.actions.hidden = true;
    this.numbers.replaceChildren();
  }

  /** What stands above the answer. */
  name(text) {
    this.who.textContent = text;
  }

  push(text) {
    if (this.state === "waiting") this.name(this.model);
    this.state = this.line.dataset.state = "answering";
    this.answer += text;
    this.words.appendData(text);
  }

  measure(measured) {
    const rows = told(measured).map(([name, value, about]) => make("div", { title: about }, make("dt", { textContent: name }), make("dd", { textContent: value })));
    this.numbers.replaceChildren(...rows);
  }

  /** The answer is over: `state` is done, stopped or failed, and `trouble` what is to be said of it. */
  end(state, ...trouble) {
    this.name(this.model);
    this.state = this.line.dataset.state = state;
    if (state === "done" && this.answer === "") trouble = ["The model answered with nothing."];
    this.trouble.replaceChildren(...trouble);
    this.trouble.hidden = !trouble.length;
    this.copy.hidden = this.answer === "";
    this.copy.dataset.copy = this.answer;
    this.actions.hidden = false;
  }

  /** Only the last answer can be tried again. */
  close() {
    this.again.hidden = true;
  }

  /** As messages of a chat; `pictures` are its data URIs. */
  messages(uris) {
    const images = uris.map((url) => ({ type: "image_url", image_url: { url } }));
    const asked = { role: "user", content: images.length ? [...images, { type: "text", text: this.text }] : this.text };
    return this.kept ? [asked, { role: "assistant", content: this.answer }] : [asked];
  }
}
