{% from "replicate.macros" import begin %}
{% from "javascript.macros" import pictures %}
{{ begin(door, files) -}}
{{ pictures(files) -}}
const prediction = await replicate.predictions.create({
  model: {{ name | javascript }},
  input: {{ inputs | javascript(11, 2) }},
  webhook: process.env.WEBHOOK_URL,
  webhook_events_filter: ["completed"],
});
console.log(prediction.id, prediction.status);
