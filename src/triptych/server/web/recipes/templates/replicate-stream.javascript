{% from "replicate.macros" import begin %}
{{ begin(door, files) -}}
const input = {{ inputs | javascript(14) }};
for await (const event of replicate.stream({{ name | javascript }}, { input })) {
  process.stdout.write(`${event}`);
}
console.log();
