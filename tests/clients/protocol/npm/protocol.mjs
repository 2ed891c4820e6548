// What every client in JavaScript has in common: how the driver asks it for calls. See ../../README.md.

import { createInterface } from "node:readline";

// The whole chain of errors, as text.
function told(error) {
  const causes = [];
  for (let cause = error; cause; cause = cause.cause ?? cause.originalError) {
    causes.push([cause.name ?? cause.code, cause.message].filter(Boolean).join(": "));
  }
  return causes.join(", caused by ");
}

// Makes one call for each line of the standard input, until that ends. A call gives the access key that it was signed
// with, or nothing where the client does not tell.
export async function serve(call) {
  for await (const _ of createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = { ok: true, key: (await call()) ?? null };
    } catch (error) {
      answer = { ok: false, error: told(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}
