// @runware/sdk-js 1.3 as it is: one WebSocket for everything.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { randomUUID } from "node:crypto";
import { Runware } from "@runware/sdk-js";

const { TRIPTYCH_URL, TRIPTYCH_KEY, TRIPTYCH_PICTURES } = process.env;
const url = `${TRIPTYCH_URL.replace("http", "ws")}/v1`;
const model = "runware:150@2";
const pictures = readdirSync(TRIPTYCH_PICTURES)
  .filter((name) => name.endsWith(".png"))
  .map((name) => {
    const [color, shape] = name.replace(".png", "").split("-");
    const bytes = readFileSync(join(TRIPTYCH_PICTURES, name)).toString("base64");
    return { color, shape, bytes, uri: `data:image/png;base64,${bytes}`, prompt: `What color is the ${shape}?` };
  });
const runware = await Runware.initialize({ apiKey: TRIPTYCH_KEY, url, timeoutDuration: 10000 });
after(() => runware.disconnect());

for (const { color, shape, bytes, uri, prompt } of pictures) {
  test(`a ${color} ${shape}, shown in every way`, async () => {
    const described = await runware.caption({ inputs: { image: uri }, model });
    assert.match(described.text, new RegExp(`${color} ${shape}`));
    assert.equal(described.taskType, "caption");
    assert.equal(described.cost, undefined);
    assert.match((await runware.requestImageToText({ inputImage: bytes })).text, new RegExp(`${color} ${shape}`));
    const upload = await runware.imageUpload({ image: uri });
    const answer = await runware.caption({ inputs: { image: upload.imageUUID, prompt }, includeCost: true });
    assert.deepEqual([answer.text, answer.cost], [color, 0.0019]);
    const media = await runware.mediaStorage({ operation: "upload", media: uri });
    assert.equal((await runware.caption({ inputs: { image: media.mediaUUID, prompt } })).text, color);
  });
}

test("many at once", async () => {
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, at) => pictures[at % pictures.length]).map(async ({ uri, prompt, color }) => {
      const { text } = await runware.caption({ inputs: { image: uri, prompt } });
      return text === color;
    }),
  );
  assert.deepEqual(answers, Array(20).fill(true));
});

test("polled", async () => {
  const [{ uri, prompt, color }] = pictures;
  const answer = await runware.caption({ inputs: { image: uri, prompt }, model, deliveryMethod: "async" });
  assert.equal(answer.text, color);
});

test("models", async () => {
  const found = await runware.modelSearch({ search: "llava" });
  assert.deepEqual([found.totalResults, found.results[0].air], [1, model]);
});

test("what is wrong is said at once, whole", async () => {
  const began = Date.now();
  await assert.rejects(runware.caption({ inputs: { image: randomUUID() }, model }), (error) => {
    const told = error.error ?? error;
    assert.equal(told.code, "invalidInputImage");
    assert.equal(told.parameter, "inputs.image");
    return true;
  });
  await assert.rejects(runware.caption({ inputs: { image: pictures[0].uri }, model: "runware:9@9" }));
  assert.ok(Date.now() - began < 5000);
});

test("a wrong key", async () => {
  const began = Date.now();
  await assert.rejects(Runware.initialize({ apiKey: "wrong", url }), (error) => {
    assert.match(JSON.stringify(error), /invalidApiKey/);
    return true;
  });
  assert.ok(Date.now() - began < 2000);
});

test("it comes back when the connection breaks off, and gets the answer of the one task", async () => {
  const there = new URL(TRIPTYCH_URL);
  let armed = false;
  let drops = 0;
  const way = createServer((client) => {
    const server = connect(Number(there.port), there.hostname);
    for (const [from, to] of [[client, server], [server, client]]) {
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
    server.on("data", (data) => client.write(data));
    client.on("data", (data) => {
      server.write(data);
      // What is shorter is a ping.
      if (armed && data.length > 100) {
        armed = false;
        drops += 1;
        setTimeout(() => client.destroy(), 5);
      }
    });
  });
  await new Promise((done) => way.listen(0, "127.0.0.1", done));
  const mine = await Runware.initialize({
    apiKey: TRIPTYCH_KEY, url: `ws://127.0.0.1:${way.address().port}/v1`, timeoutDuration: 3000,
  });
  const [{ uri, prompt, color }] = pictures;
  assert.equal((await mine.caption({ inputs: { image: uri, prompt } })).text, color);
  armed = true;
  assert.equal((await mine.caption({ inputs: { image: uri, prompt } })).text, color);
  assert.equal(drops, 1);
  await mine.disconnect();
  way.close();
});
