// The AI SDK (`ai` 6) with @ai-sdk/openai-compatible, as they are.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, streamText, tool } from "ai";
import { z } from "zod";
import { LLAVA, MIXTRAL, SUM, TOO_LONG, baseURL, pictures } from "./server.mjs";

const triptych = createOpenAICompatible({ name: "triptych", baseURL, apiKey: "any", includeUsage: true, supportsStructuredOutputs: true });
const asked = { model: triptych(MIXTRAL), temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
const Verdict = z.object({ right: z.boolean(), kind: z.enum(["sum", "difference"]) });

test("a sum", async () => {
  const { text, finishReason, usage } = await generateText({ ...asked, prompt: SUM });
  assert.equal(text, "42");
  assert.equal(finishReason, "stop");
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
});

test("a stream with usage", async () => {
  const whole = await generateText({ ...asked, prompt: SUM });
  const result = streamText({ ...asked, prompt: SUM });
  let said = "";
  for await (const delta of result.textStream) said += delta;
  assert.equal(said, "42");
  const usage = await result.usage;
  assert.equal(usage.inputTokens, whole.usage.inputTokens);
  assert.equal(usage.outputTokens, whole.usage.outputTokens);
});

test("pictures", async () => {
  for (const { color, question, data } of pictures) {
    const content = [{ type: "text", text: question }, { type: "image", image: data }];
    const { text } = await generateText({ ...asked, model: triptych(LLAVA), messages: [{ role: "user", content }] });
    assert.equal(text, color);
  }
});

test("an object by its schema", async () => {
  const { output } = await generateText({ ...asked, prompt: SUM, output: Output.object({ schema: Verdict }) });
  assert.equal(typeof output.right, "boolean");
});

test("a forced tool", async () => {
  const tools = { judge: tool({ description: "Judges a sum.", inputSchema: Verdict }) };
  const { toolCalls } = await generateText({ ...asked, prompt: SUM, tools, toolChoice: { type: "tool", toolName: "judge" } });
  assert.equal(toolCalls[0].toolName, "judge");
  assert.equal(typeof toolCalls[0].input.right, "boolean");
});

test("what is wrong is said", async () => {
  await assert.rejects(generateText({ ...asked, prompt: TOO_LONG }), (error) =>
    APICallError.isInstance(error) && error.statusCode === 400 && /maximum context length/.test(error.message));
});

test("an answer that breaks off is an error part", async () => {
  const parts = [];
  const result = streamText({ ...asked, model: triptych("dying"), prompt: "one two three four", onError: () => {} });
  for await (const part of result.fullStream) parts.push(part);
  const failed = parts.find((part) => part.type === "error");
  assert.match(String(failed.error?.message ?? failed.error), /died while it was answering/);
  assert.equal(parts.at(-1).finishReason, "error");
});
