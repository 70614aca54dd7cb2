{% from "replicate.macros" import begin %}
{{ begin(door) -}}
const input = {{ inputs | javascript(14) }};
const { id } = await replicate.predictions.create({ model: {{ name | javascript }}, input });
const prediction = await replicate.predictions.cancel(id);
console.log(prediction.id, prediction.status);
