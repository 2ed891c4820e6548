// The AWS SDK for JavaScript, version 2. See ../README.md.

import AWS from "aws-sdk";

import { serve } from "./protocol.mjs";

// It does not know AWS_ENDPOINT_URL.
const sts = new AWS.STS({ endpoint: process.env.CLIENT_ENDPOINT });
await serve(async () => {
  const request = sts.getCallerIdentity();
  await request.promise();
  return /Credential=([^/]+)\//.exec(request.httpRequest.headers.Authorization)[1];
});
