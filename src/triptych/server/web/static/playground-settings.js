// The form of model, system prompt and parameters: what of it goes into a call, and what is wrong with it.

const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];

/** The chosen model, as the page was told of it or the server tells now. */
export class Models {
  constructor(select, facts) {
    Object.assign(this, { select, facts });
    select.addEventListener("change", () => this.show());
    this.show();
  }

  get name() {
    return this.select.value;
  }

  get option() {
    return this.select.selectedOptions[0];
  }

  get sees() {
    return this.option?.dataset.sees === "yes";
  }

  /** Whether it looks at a picture in tiles, as far as its name tells. */
  get tiles() {
    return /1\.6|next/i.test(this.option?.dataset.runs ?? "");
  }

  get state() {
    return this.option?.dataset.state ?? "";
  }

  show() {
    const { runs = "", sees = "", state = "", note = "", failure = "", context = "" } = this.option?.dataset ?? {};
    this.say("runs", runs === this.name ? "" : runs);
    this.say("sees", sees === "yes" ? "Pictures and text" : "Text only");
    this.say("state", { stopped: "Starts on first use", starting: "Starting", ready: "Ready", failed: "Failed" }[state] ?? state);
    this.facts.querySelector("[data-fact=state]")?.setAttribute("data-state", state);
    this.say("context", context && `${Number(context).toLocaleString("en")} tokens`);
    this.say("note", note && `${note[0].toUpperCase()}${note.slice(1)}.`);
    this.say("failure", failure);
  }

  say(fact, text) {
    const place = this.facts.querySelector(`[data-fact=${fact}]`);
    place.textContent = text;
    place.closest("[data-row]").hidden = !text;
  }

  /** Asks the server about the chosen model; its state then, "" if it does not say. */
  async refresh(signal) {
    const option = this.option;
    const answer = await fetch(`/v1/models/${option.value.split("/").map(encodeURIComponent).join("/")}`, { signal });
    if (!answer.ok) return "";
    const told = await answer.json();
    option.dataset.state = told.state ?? "";
    option.dataset.failure = told.failure ?? "";
    if (told.context_length) option.dataset.context = told.context_length;
    if (told.architecture) option.dataset.sees = told.architecture.input_modalities.includes("image") ? "yes" : "no";
    if (option === this.option) this.show();
    return option.dataset.state;
  }
}

/** The field that takes a JSON schema or a regular expression, shown when one of these is chosen. */
export function constrained(form) {
  const { form_kind: kind, form_text: text } = form.elements;
  const show = () => {
    const wanted = ["json_schema", "regex"].includes(kind.value);
    text.closest("[data-row]").hidden = !wanted;
    text.required = wanted;
    text.labels[0].textContent = kind.value === "regex" ? "Regular expression" : "JSON schema";
    check(kind, text);
  };
  kind.addEventListener("change", show);
  text.addEventListener("input", () => check(kind, text));
  show();
}

function check(kind, text) {
  text.setCustomValidity("");
  if (kind.value === "json_schema" && text.value.trim()) {
    try {
      const schema = JSON.parse(text.value);
      if (typeof schema !== "object" || schema === null || Array.isArray(schema)) throw new Error("it is not an object");
    } catch (error) {
      text.setCustomValidity(`This is not a JSON schema: ${error.message}.`);
    }
  }
}

/** Whether everything in the form can be sent; if not, the first field that cannot says why. */
export function sound(form) {
  if (form.checkValidity()) return true;
  for (const part of form.querySelectorAll("details")) part.open ||= part.querySelector(":invalid") !== null;
  form.reportValidity();
  return false;
}

/** What the form says beside model and system prompt, in the names of chat completions; empty fields say nothing. */
export function parametersOf(form) {
  const found = {};
  for (const name of NUMBERS) {
    const { value } = form.elements[name];
    if (value !== "" && Number.isFinite(Number(value))) found[name] = Number(value);
  }
  const stop = form.elements.stop.value.split("\n").filter((line) => line !== "");
  if (stop.length) found.stop = stop;
  const text = form.elements.form_text.value;
  switch (form.elements.form_kind.value) {
    case "json_object":
      found.response_format = { type: "json_object" };
      break;
    case "json_schema":
      if (form.elements.form_text.validity.valid) {
        found.response_format = { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(text) } };
      }
      break;
    case "regex":
      if (text) found.structured_outputs = { regex: text };
  }
  return found;
}
