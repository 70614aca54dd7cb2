// What test_node_clients.py tells of the server that it started.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

export const baseURL = `${process.env.TRIPTYCH_URL}/v1`;
export const LLAVA = "triptych/tiny-llava-1.6";
export const MIXTRAL = "triptych/tiny-mixtral";
export const SUM = "What is 17 + 25?";
export const TOO_LONG = "1 + 1 ".repeat(5000);

// Pictures of one object that fills much of each.
export const pictures = readdirSync(process.env.TRIPTYCH_PICTURES)
  .filter((name) => name.endsWith(".png"))
  .map((name) => {
    const [color, shape] = name.replace(".png", "").split("-");
    return { color, question: `What color is the ${shape}?`, data: readFileSync(join(process.env.TRIPTYCH_PICTURES, name)) };
  });
