// npm's replicate 1.4 as it is; and what @ai-sdk/replicate says of language models, which it has none of.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { createReplicate } from "@ai-sdk/replicate";
import { NoSuchModelError, generateText } from "ai";
import Replicate, { validateWebhook } from "replicate";
import { SUM, baseURL, pictures } from "./server.mjs";

const LLAVA = "yorickvp/llava-13b";
const MIXTRAL = "mistralai/mixtral-8x7b-instruct-v0.1";
const VERSION = "80537f9eead1a5bfa72d5ac6ea6414379be41d4d4f6679fd776e9535d1eb58bb";
const WORDS = "one two three four five six";
const LONG = "word ".repeat(300);
const replicate = new Replicate({ baseUrl: baseURL });
const sum = { prompt: SUM, temperature: 0.01, top_k: 1 };
const asked = ({ question }, image) => ({ image, prompt: question, temperature: 0 });
const uri = ({ data }) => `data:image/png;base64,${data.toString("base64")}`;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

for (const picture of pictures) {
  test(`a picture of something ${picture.color}, shown in every way`, async () => {
    const url = (await replicate.files.create(picture.data)).urls.get;
    for (const image of [picture.data, new Blob([picture.data], { type: "image/png" }), uri(picture), url]) {
      for (const ref of [LLAVA, `${LLAVA}:${VERSION}`, "yorickvp/llava-v1.6-mistral-7b"]) {
        const said = await replicate.run(ref, { input: asked(picture, image) });
        assert.equal(said.join(""), picture.color);
      }
    }
  });
}

test("a text, by waiting and by polling", async () => {
  assert.equal((await replicate.run(MIXTRAL, { input: sum })).join("").trim(), "42");
  const statuses = [];
  const wait = { mode: "poll", interval: 100 };
  const said = await replicate.run(MIXTRAL, { input: sum, wait }, ({ status }) => statuses.push(status));
  assert.equal(said.join("").trim(), "42");
  assert.equal(statuses[0], "starting");
  assert.equal(statuses.at(-1), "succeeded");
});

test("a wait that runs out gives the whole text all the same, of one prediction", async () => {
  const input = { prompt: `${WORDS} node` };
  const said = await replicate.run("echo/slow", { input, wait: { mode: "block", timeout: 1 } });
  assert.equal(said.join(""), input.prompt);
  const { results } = await replicate.predictions.list();
  assert.equal(results.filter((each) => each.input.prompt === input.prompt).length, 1);
});

test("a stream", async () => {
  const [picture] = pictures;
  const events = [];
  for await (const event of replicate.stream(`${LLAVA}:${VERSION}`, { input: asked(picture, picture.data) })) events.push(event);
  assert.equal(events.join(""), picture.color);
  assert.equal(events.at(-1).event, "done");
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length);
});

test("a stream comes while it is said, as text whatever it looks like", async () => {
  const prompt = `https://a.example/x.png ${WORDS} data:text/plain,x`;
  const began = Date.now();
  let first;
  let said = "";
  for await (const event of replicate.stream("echo/slow", { input: { prompt } })) {
    first ??= Date.now();
    said += event;
  }
  assert.equal(said, prompt);
  assert.ok(Date.now() - first > 1000, `${first - began} ms, and ${Date.now() - first} ms`);
  const whole = await replicate.run("echo/quick", { input: { prompt } });
  assert.ok(whole.every((piece) => typeof piece === "string"));
  assert.equal(whole.join(""), prompt);
});

test("a webhook tells what get shows, and its signature is valid", async () => {
  const got = [];
  const receiver = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString();
    got.push({ headers: request.headers, body });
    response.writeHead(204).end();
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const [picture] = pictures;
  const prediction = await replicate.predictions.create({
    model: LLAVA, input: asked(picture, uri(picture)), webhook: `http://127.0.0.1:${receiver.address().port}/`,
    webhook_events_filter: ["completed"],
  });
  assert.equal(prediction.status, "starting");
  while (!got.length) await sleep(50);
  receiver.close();
  const [{ headers, body }] = got;
  const { key } = await replicate.webhooks.default.secret.get();
  assert.equal(await validateWebhook({ headers, body }, key), true);
  assert.equal(await validateWebhook({ headers, body: `${body} ` }, key), false);
  const shown = await replicate.predictions.get(prediction.id);
  assert.deepEqual(JSON.parse(body), shown);
  assert.equal(shown.output.join(""), picture.color);
});

test("a signal cancels a long one", async () => {
  const stopper = new AbortController();
  let seen;
  const said = await replicate.run(
    "echo/slow", { input: { prompt: LONG }, signal: stopper.signal, wait: { mode: "poll", interval: 100 } },
    (prediction) => {
      seen = prediction;
      if (prediction.output?.length) stopper.abort();
    },
  );
  assert.equal(seen.status, "canceled");
  assert.ok(said.length > 0 && LONG.startsWith(said.join("")));
  const shown = await replicate.predictions.get(seen.id);
  assert.deepEqual([shown.status, shown.output], ["canceled", said]);
  assert.equal((await replicate.predictions.cancel(seen.id)).completed_at, shown.completed_at);
});

test("pages", async () => {
  const created = [];
  for (let at = 0; at < 101; at++) created.push((await replicate.predictions.create({ model: "echo/quick", input: { prompt: "a" } })).id);
  const listed = [];
  for await (const page of replicate.paginate(replicate.predictions.list)) listed.push(page.map(({ id }) => id));
  assert.ok(listed.length > 1);
  assert.equal(listed[0].length, 100);
  assert.deepEqual(listed.flat().slice(0, 101), created.reverse());
  assert.equal(new Set(listed.flat()).size, listed.flat().length);
});

test("files", async () => {
  const [{ data, color }] = pictures;
  const made = await replicate.files.create(data, { color });
  assert.deepEqual([made.content_type, made.size, made.metadata], ["image/png", data.length, { color }]);
  assert.deepEqual(await replicate.files.get(made.id), made);
  assert.equal((await replicate.files.list()).results[0].id, made.id);
  assert.equal(await replicate.files.delete(made.id), true);
  await assert.rejects(replicate.files.get(made.id), ({ response }) => response.status === 404);
});

test("models and the rest", async () => {
  const model = await replicate.models.get("yorickvp", "llava-13b");
  assert.match(model.description, /triptych\/tiny-llava-1\.5/);
  const names = [];
  for await (const page of replicate.paginate(replicate.models.list)) names.push(...page.map(({ owner, name }) => `${owner}/${name}`));
  assert.ok(names.includes(LLAVA) && names.includes(MIXTRAL));
  assert.equal((await replicate.models.search("llava-13b")).results[0].name, "llava-13b");
  const versions = (await replicate.models.versions.list("yorickvp", "llava-13b")).results.map(({ id }) => id);
  assert.ok(versions.includes(VERSION) && versions[0] === model.latest_version.id);
  assert.equal((await replicate.models.versions.get("yorickvp", "llava-13b", VERSION)).id, VERSION);
  assert.deepEqual((await replicate.hardware.list()).map(({ sku }) => sku), ["cpu"]);
  assert.equal((await replicate.accounts.current()).type, "user");
  assert.ok((await replicate.collections.get("vision-models")).models.length > 0);
  assert.equal((await replicate.deployments.get("yorickvp", "llava-13b")).current_release.model, LLAVA);
  const prediction = await replicate.deployments.predictions.create("yorickvp", "llava-13b", { input: asked(pictures[0], uri(pictures[0])), wait: true });
  assert.equal(prediction.output.join(""), pictures[0].color);
});

test("errors", async () => {
  const refused = (work, status, text) =>
    assert.rejects(work, (error) => {
      assert.deepEqual([error.name, error.response?.status], ["ApiError", status]);
      assert.match(error.message, text);
      return true;
    });
  await refused(new Replicate({ baseUrl: baseURL, auth: "wrong" }).run(MIXTRAL, { input: sum }), 401, /Unauthenticated/);
  await refused(replicate.predictions.get("nosuchprediction"), 404, /could not be found/);
  await refused(replicate.run(LLAVA, { input: {} }), 422, /prompt is required/);
  const input = asked(pictures[0], "data:image/png;base64,aGVsbG8gdGhlcmU=");
  await assert.rejects(replicate.run(LLAVA, { input }), /^Error: Prediction failed: .*image/);
  // A fault of this client: it sends itself, with its token, in place of the input.
  const faulty = new Replicate({ baseUrl: baseURL, fileEncodingStrategy: "data-uri" });
  await refused(faulty.run(LLAVA, { input: asked(pictures[0], pictures[0].data) }), 422, /leave that option out/);
});

test("@ai-sdk/replicate refuses to be asked for a language model, and says so", async () => {
  const provider = createReplicate({ baseURL, apiToken: "any" });
  assert.throws(() => provider.languageModel(LLAVA), (error) => NoSuchModelError.isInstance(error) && error.message === `No such languageModel: ${LLAVA}`);
  await assert.rejects(async () => generateText({ model: provider.languageModel(LLAVA), prompt: SUM }), NoSuchModelError.isInstance);
});
