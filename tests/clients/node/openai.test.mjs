// openai-node 6.49 as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI, { APIError, BadRequestError, NotFoundError } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { LLAVA, MIXTRAL, SUM, TOO_LONG, baseURL, pictures } from "./server.mjs";

const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: SUM }];
const greedy = { model: MIXTRAL, temperature: 0, max_tokens: 40 };
const Verdict = z.object({ right: z.boolean(), kind: z.enum(["sum", "difference"]) });

test("a sum", async () => {
  const answer = await client.chat.completions.create({ ...greedy, messages });
  assert.equal(answer.choices[0].message.content, "42");
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.model, MIXTRAL);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.match(answer._request_id, /^req_/);
});

test("a stream, chunk by chunk", async () => {
  const stream = await client.chat.completions.create({ ...greedy, messages, stream: true, stream_options: { include_usage: true } });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), "42");
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
});

test("the stream helper", async () => {
  const deltas = [];
  const stream = client.chat.completions.stream({ ...greedy, messages }).on("content", (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, "42");
  assert.equal(deltas.join(""), "42");
});

test("pictures by data URI", async () => {
  for (const { color, question, data } of pictures) {
    const url = `data:image/png;base64,${data.toString("base64")}`;
    const content = [{ type: "text", text: question }, { type: "image_url", image_url: { url, detail: "high" } }];
    const answer = await client.chat.completions.create({ ...greedy, model: LLAVA, messages: [{ role: "user", content }] });
    assert.equal(answer.choices[0].message.content, color);
    assert.ok(answer.usage.prompt_tokens_details.image_tokens > 0);
  }
});

test("a parsed answer", async () => {
  const answer = await client.chat.completions.parse({ ...greedy, max_tokens: 200, messages, response_format: zodResponseFormat(Verdict, "verdict") });
  assert.equal(typeof answer.choices[0].message.parsed.right, "boolean");
});

test("a forced tool, whole and as a stream", async () => {
  const parameters = { type: "object", properties: { right: { type: "boolean" } }, required: ["right"] };
  const wanted = {
    ...greedy, max_tokens: 200, messages, tools: [{ type: "function", function: { name: "judge", parameters } }],
    tool_choice: { type: "function", function: { name: "judge" } },
  };
  const answer = await client.chat.completions.create(wanted);
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, "judge");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["right"]);
  const streamed = await client.chat.completions.stream(wanted).finalChatCompletion();
  assert.equal(streamed.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);
});

test("models, and one whose name has a slash", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes(MIXTRAL) && names.includes(LLAVA));
  // This client sends the slash as %2F.
  assert.equal((await client.models.retrieve("llava-hf/llava-v1.6-mistral-7b-hf")).id, LLAVA);
  await assert.rejects(client.models.retrieve("no/such"), NotFoundError);
});

test("what is wrong stands in the error's fields", async () => {
  const refused = (more) => client.chat.completions.create({ ...greedy, messages, ...more }).then(() => assert.fail(), (error) => error);
  let error = await refused({ messages: [{ role: "user", content: TOO_LONG }] });
  assert.ok(error instanceof BadRequestError);
  assert.equal(error.status, 400);
  assert.equal(error.code, "context_length_exceeded");
  assert.equal(error.param, "messages");
  assert.equal(error.type, "invalid_request_error");
  assert.match(error.message, /maximum context length/);
  assert.match(error.requestID, /^req_/);
  error = await refused({ model: "gpt-x" });
  assert.ok(error instanceof NotFoundError);
  assert.equal(error.code, "model_not_found");
});

test("an answer that breaks off is an error", async () => {
  let said = "";
  const broken = async () => {
    const stream = await client.chat.completions.create({ model: "dying", messages: [{ role: "user", content: "one two three four" }], stream: true });
    for await (const chunk of stream) said += chunk.choices[0]?.delta.content ?? "";
  };
  await assert.rejects(broken, (error) => error instanceof APIError && /died while it was answering/.test(error.message));
  assert.match(said, /^one/);
});

test("a stream that is left", async () => {
  const stream = await client.chat.completions.create({ ...greedy, max_tokens: 2000, messages: [{ role: "user", content: "What is 1 + 1?" }], stream: true, logit_bias: { 2: -100 } });
  for await (const _ of stream) break;
  const answer = await client.chat.completions.create({ ...greedy, messages });
  assert.equal(answer.choices[0].message.content, "42");
});
