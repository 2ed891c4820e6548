// The AWS SDK for JavaScript, version 3. See ../README.md.

import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

import { serve } from "./protocol.mjs";

const sts = new STSClient({});
let key;
const noteKey = (next) => (step) => {
  [, key] = /Credential=([^/]+)\//.exec(step.request.headers.authorization);
  return next(step);
};
sts.middlewareStack.add(noteKey, { step: "deserialize", name: "noteKey", priority: "low" });
await serve(async () => {
  await sts.send(new GetCallerIdentityCommand({}));
  return key;
});
sts.destroy();
