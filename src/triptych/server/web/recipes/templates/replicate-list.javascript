{% from "replicate.macros" import begin %}
{{ begin(door) -}}
const { results } = await replicate.predictions.list();
for (const prediction of results) console.log(prediction.id, prediction.status);
