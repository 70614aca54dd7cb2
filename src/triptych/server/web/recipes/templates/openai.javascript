{% from "javascript.macros" import pictures %}
{% if files %}
import { readFile } from "node:fs/promises";
{% endif %}
import OpenAI from "openai";

const client = new OpenAI({{ client | javascript(27) }});
{{ pictures(files) -}}
{% if stream %}
const stream = await client.chat.completions.create({{ body | javascript(54) }});
for await (const chunk of stream) {
  for (const choice of chunk.choices) process.stdout.write(choice.delta.content ?? "");
}
console.log();
{% else %}
const answer = await client.chat.completions.create({{ body | javascript(54) }});
console.log(answer.choices[0].message.content);
{% endif %}
