{% from "replicate.macros" import begin %}
{{ begin(door, files) -}}
const input = {{ inputs | javascript(14) }};
const output = await replicate.run({{ name | javascript }}, { input });
console.log(output.join(""));
