// The playground: what the form says is asked of a served model, and its answer is watched as it comes.

import { Code } from "./playground-code.js";
import { Examples } from "./playground-examples.js";
import { Measured, seconds } from "./playground-numbers.js";
import { dataUri, Pictures, receive } from "./playground-pictures.js";
import { constrained, Models, parametersOf, sound } from "./playground-settings.js";
import { ask } from "./playground-stream.js";
import { make, Turn } from "./playground-turn.js";

const DESCRIBE = "Describe this image.";
const LOOK_AGAIN = 500;
const LONGEST_SAID = 300;

const find = (id) => document.getElementById(id);
const page = find("playground"), settings = find("settings"), composer = find("composer"), prompt = find("prompt");
const list = find("turns"), status = find("status"), trouble = find("trouble");

const models = new Models(settings.elements.model, find("facts"));
const pictures = new Pictures(find("pictures"), { changed, refused: warn });
const examples = new Examples(find("examples"), find("questions"), { ask: send, drawn, refused: warn });
const code = new Code(find("code"), call);
let turns = [];
let running = null;

// ---- what is asked -------------------------------------------------------------------------------------------------

function changed() {
  prompt.placeholder = pictures.items.length ? `Ask about it, or send it as it is: “${DESCRIBE}”` : "Ask something";
  warn(pictures.items.length && !models.sees ? `${models.name} reads text only. Choose a model that sees, or remove the picture.` : "");
  if (models.sees && !turns.length && !pictures.items.some((each) => each.example)) examples.choose(null);
  code.changed();
}

function drawn(blob, file, alt) {
  pictures.example(blob, file, alt);
  say(`${file} is added`);
}

function warn(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

/** The conversation up to `turn`, without what failed, as the server takes it. */
async function messagesFor(turn) {
  const asked = turns.filter((each) => each === turn || each.kept);
  const uris = await Promise.all(asked.map((each) => Promise.all(each.pictures.map(({ blob }) => dataUri(blob)))));
  const system = settings.elements.system.value.trim();
  const said = asked.flatMap((each, place) => each.messages(uris[place]));
  return system ? [{ role: "system", content: system }, ...said] : said;
}

/** What would be sent now, or was sent last if nothing is there to send: with the names of pictures for the code. */
function call() {
  const draft = { text: questionOf(), pictures: pictures.items };
  const earlier = turns.filter((each) => each.kept);
  const last = draft.text ? draft : turns.at(-1) ?? { text: models.sees ? DESCRIBE : "Hello!", pictures: [] };
  const before = earlier.filter((each) => each !== last);
  const turn = (role, text, shown = []) => ({ role, text, images: shown.map(({ name }) => name) });
  const said = before.flatMap((each) => [turn("user", each.text, each.pictures), turn("assistant", each.answer)]);
  const files = [...before, last].flatMap((each) => each.pictures.map(({ name, example }) => [name, example ? examples.address(name) : ""]));
  return {
    model: models.name, system: settings.elements.system.value.trim(), parameters: parametersOf(settings),
    turns: [...said, turn("user", last.text, last.pictures)], files,
  };
}

function questionOf() {
  return prompt.value.trim() || (pictures.items.length ? DESCRIBE : "");
}

// ---- asking ----------------------------------------------------------------------------------------------------------

/** Sends what is written, or a question that was `suggested`; what is written waits then. */
function send(suggested = "") {
  if (running || !sound(settings)) return;
  const text = suggested || questionOf();
  if (!text) {
    warn("Write a message first, or add a picture.");
    prompt.focus();
    return;
  }
  turns.at(-1)?.close();
  const turn = new Turn(list, text, pictures.take(), () => { if (!running && sound(settings)) answer(turn); });
  turns.push(turn);
  if (!suggested) prompt.value = "";
  page.classList.add("begun");
  find("anew").hidden = false;
  changed();
  answer(turn);
}

async function answer(turn) {
  const control = (running = new AbortController());
  const measured = new Measured();
  busy(true);
  turn.begin(models.name);
  turn.line.scrollIntoView({ block: "nearest" });
  say("Waiting for the model");
  watchStart(turn, measured, control.signal);
  let finish = "";
  try {
    const body = {
      model: models.name, messages: await messagesFor(turn), ...parametersOf(settings),
      stream: true, stream_options: { include_usage: true, continuous_usage_stats: true },
    };
    for await (const chunk of ask(page.dataset.chat, body, control.signal)) finish = took(turn, measured, chunk) ?? finish;
    over(turn, measured, "done", ...(finish === "length" ? [cutOff(measured)] : []));
    say(`Answer: ${turn.answer.slice(0, LONGEST_SAID)}`);
  } catch (error) {
    failed(turn, measured, error);
  } finally {
    control.abort();
    running = null;
    busy(false);
    code.changed();
    look();
  }
}

/** Brings what stands beside the model's name up to date. */
function look() {
  models.refresh().catch(() => {}); // what it says is a little old then, and the next call will tell
}

/** One chunk of the stream; why the answer ends, if it does. */
function took(turn, measured, chunk) {
  const text = chunk.choices?.[0]?.delta?.content ?? "";
  if (text && !measured.first) {
    say("Answering");
    if (models.state !== "ready") look();
  }
  measured.chunk(chunk, text);
  if (text) {
    const follow = turn.line.getBoundingClientRect().bottom < innerHeight;
    turn.push(text);
    frame(() => {
      if (running && turn.state === "answering") turn.measure(measured);
      if (follow) turn.line.scrollIntoView({ block: "nearest" });
    });
  }
  return chunk.choices?.[0]?.finish_reason;
}

let framed = false;

/** Many tokens may come between two pictures of the screen; their numbers are written once. */
function frame(work) {
  if (framed) return;
  framed = true;
  requestAnimationFrame(() => {
    framed = false;
    work();
  });
}

function over(turn, measured, state, ...about) {
  measured.end();
  if (measured.first || state === "done") turn.measure(measured);
  turn.end(state, ...about);
}

function cutOff({ tokens }) {
  return `Cut off after ${tokens} tokens, the most that this answer may have. “Most tokens” can be raised.`;
}

function failed(turn, measured, error) {
  if (error.name === "AbortError") {
    over(turn, measured, "stopped", "Stopped.");
    say("Stopped");
    return;
  }
  const about = [error.message];
  if (error.retry) about.push(` Try again in ${error.retry} s.`);
  if (error.status === 401) about.push(" ", make("a", { href: page.dataset.signIn, textContent: "Sign in with a key" }), ".");
  const details = [error.status && `status ${error.status}`, error.code, error.request && `request ${error.request}`].filter(Boolean);
  if (details.length) about.push(make("small", { textContent: details.join(" · ") }));
  over(turn, measured, "failed", ...about);
  say(`The answer failed: ${error.message}`);
}

/** While nothing comes: whether the model has to start first, and for how long it has been at it. */
async function watchStart(turn, measured, signal) {
  measured.starting = !["ready", ""].includes(models.state);
  while (!signal.aborted && !measured.first) {
    const waited = seconds(performance.now() - measured.sent);
    if (measured.starting && !measured.start) turn.name(`${turn.model} is starting, ${waited}`);
    await new Promise((resolve) => { setTimeout(resolve, LOOK_AGAIN); });
    if (signal.aborted || measured.first) break;
    const state = await models.refresh(signal).catch(() => "");
    measured.starting ||= state === "starting";
    if (state === "starting") say("The model is starting");
    if (state === "ready") {
      measured.ready(performance.now());
      turn.name(turn.model);
    }
  }
}

/** Buttons that do nothing now keep the focus: they say so, and are not disabled. */
function busy(now) {
  find("stop").hidden = !now;
  for (const id of ["send", "anew"]) find(id).setAttribute("aria-disabled", String(now));
  examples.busy(now);
  list.setAttribute("aria-busy", String(now));
}

function say(text) {
  if (status.textContent !== text) status.textContent = text;
}

// ---- beginning anew --------------------------------------------------------------------------------------------------

/** What can be tried with the chosen model stands there until something is tried. */
function offer() {
  if (!turns.length && !pictures.items.length) examples.offer(models, models.sees ? [] : JSON.parse(page.dataset.sums));
}

function anew() {
  if (running) return;
  for (const { url } of turns.flatMap((turn) => turn.pictures)) URL.revokeObjectURL(url);
  turns = [];
  list.replaceChildren();
  page.classList.remove("begun");
  find("anew").hidden = true;
  changed();
  offer();
  say("A new conversation");
  prompt.focus();
}

// ---- what people do --------------------------------------------------------------------------------------------------

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
settings.addEventListener("submit", (event) => event.preventDefault());
settings.addEventListener("input", changed);
settings.elements.model.addEventListener("change", () => {
  const address = new URL(location.href);
  address.searchParams.set("model", models.name);
  history.replaceState(null, "", address);
  offer();
  changed();
});
prompt.addEventListener("input", changed);
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
find("stop").addEventListener("click", () => {
  running?.abort();
  prompt.focus();
});
find("anew").addEventListener("click", anew);
find("picker").addEventListener("change", ({ target }) => {
  pictures.add(target.files);
  target.value = "";
});
receive(document.body, prompt, pictures);
constrained(settings);
// On a phone the conversation comes first.
find("parameters").open = !matchMedia("(max-width: 60rem)").matches;
page.hidden = false;
offer();
changed();
