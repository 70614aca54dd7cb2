// One call of /v1/chat/completions: its events as they come, and what went wrong in words.

/** What the server, or the way to it, has against a call. */
export class Refused extends Error {
  constructor(message, { status = 0, code = "", request = "", retry = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, request, retry });
  }
}

/** The chunks of a streamed answer. Throws Refused, and AbortError when `signal` stops it. */
export async function* ask(url, body, signal) {
  const response = await reached(url, body, signal);
  if (!response.ok) throw await refusal(response);
  let last = false;
  for await (const data of events(response.body)) {
    last = data === "[DONE]";
    if (last) continue; // the connection ends by itself then: breaking it off would look like giving up
    const chunk = parsed(data);
    if (chunk.error) throw new Refused(chunk.error.message, { ...named(chunk.error), request: requestOf(response) });
    yield chunk;
  }
  if (!last) throw new Refused("The answer broke off: the connection to the server ended in the middle of it.");
}

async function reached(url, body, signal) {
  try {
    const headers = { "content-type": "application/json", accept: "text/event-stream" };
    return await fetch(url, { method: "POST", headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached. Check that it still runs and that this computer is connected to it.");
  }
}

async function refusal(response) {
  const about = { status: response.status, request: requestOf(response), retry: Number(response.headers.get("retry-after")) || 0 };
  const text = await response.text().catch(() => "");
  const { error } = parsed(text);
  if (error?.message) return new Refused(error.message, { ...about, ...named(error) });
  return new Refused(`The server answered with the status ${response.status} and no reason.`, about);
}

const named = (error) => ({ code: error.code ?? error.type ?? "" });
const requestOf = (response) => response.headers.get("x-request-id") ?? "";

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** The data of server-sent events; comments and other fields are passed over. Throws Refused when the connection breaks. */
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", data = [];
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      // A carriage return at the end may be half of a line's end: it waits for what comes next.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The connection to the server broke while it was answering.");
  }
}
