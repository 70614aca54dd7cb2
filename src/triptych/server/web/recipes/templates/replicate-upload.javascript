{% from "replicate.macros" import begin %}
{{ begin(door, true) -}}
const file = await replicate.files.create(await readFile({{ image | javascript }}));
const input = {{ dict({"image": code("file.urls.get")}, **inputs) | javascript(14) }};
const output = await replicate.run({{ name | javascript }}, { input });
console.log(output.join(""));
