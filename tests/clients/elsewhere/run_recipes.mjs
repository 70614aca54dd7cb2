// What run_recipes.py does, for modules: standard input is `[{"file": ..., "variables": ...}]`. It ends only if none of
// them leaves anything open.

import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const write = process.stdout.write;

async function run({ file, variables }) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, variables);
  let printed = "";
  let failed = "";
  process.stdout.write = (chunk) => {
    printed += chunk;
    return true;
  };
  try {
    await import(pathToFileURL(file));
  } catch (error) {
    failed = error?.stack ?? JSON.stringify(error);
  }
  process.stdout.write = write;
  return { printed, failed };
}

const results = [];
for (const program of JSON.parse(await text(process.stdin))) results.push(await run(program));
process.stdout.write(JSON.stringify(results));
