// A long-lived client of the AWS SDK for JavaScript: signed calls until it has used CLIENT_KEYS access keys. See ../README.md.

import { setTimeout as pause } from "node:timers/promises";

import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const wanted = Number(process.env.CLIENT_KEYS ?? "4");
const deadline = Date.now() + 1000 * Number(process.env.CLIENT_DEADLINE_SECONDS ?? "90");
const used = new Set();

function noteKey(next) {
  return (step) => {
    const [, key] = /Credential=([^/]+)\//.exec(step.request.headers.authorization);
    if (!used.has(key)) {
      used.add(key);
      console.log("key", key);
    }
    return next(step);
  };
}

const sts = new STSClient({});
sts.middlewareStack.add(noteKey, { step: "deserialize", name: "noteKey", priority: "low" });
for (let calls = 1; ; calls += 1) {
  let arn;
  try {
    arn = (await sts.send(new GetCallerIdentityCommand({}))).Arn;
  } catch (error) {
    console.error(`call ${calls - 1} failed:`, error);
    process.exit(1);
  }
  if (used.size >= wanted) {
    console.log("done", calls, arn);
    break;
  }
  if (Date.now() > deadline) {
    console.error(`deadline: ${used.size} of ${wanted} keys in ${calls} calls`);
    process.exit(1);
  }
  await pause(200);
}
sts.destroy();
