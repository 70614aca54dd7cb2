{% from "runware.macros" import begin %}
{% from "javascript.macros" import pictures %}
{{ begin(door, key, files) -}}
{{ pictures(files) -}}
{% set inputs = {"image": image} %}
const answer = await runware.caption({
  model: {{ name | javascript }},
  inputs: {{ (dict(inputs, prompt=prompt) if prompt else inputs) | javascript(12, 2) }},
});
console.log(answer.text);
await runware.disconnect();
