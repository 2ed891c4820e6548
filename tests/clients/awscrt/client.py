"""The CRT's default chain, one for the process's life: it signs one GetCallerIdentity at each call, and the CRT sends it."""

import io
import os
from urllib.parse import urlsplit

from awscrt.auth import AwsCredentialsProvider, AwsSigningConfig, aws_sign_request
from awscrt.http import HttpClientConnection, HttpHeaders, HttpRequest
from awscrt.io import ClientBootstrap

from told import credential, serve

aws = urlsplit(os.environ["CLIENT_ENDPOINT"])
bootstrap = ClientBootstrap.get_or_create_static_default()
provider = AwsCredentialsProvider.new_default_chain(bootstrap)
FORM = "application/x-www-form-urlencoded; charset=utf-8"
BODY = b"Action=GetCallerIdentity&Version=2011-06-15"


def call():
    headers = HttpHeaders([("Host", aws.netloc), ("Content-Type", FORM), ("Content-Length", str(len(BODY)))])
    request = HttpRequest("POST", "/", headers, io.BytesIO(BODY))
    config = AwsSigningConfig(credentials_provider=provider, region=os.environ["AWS_REGION"], service="sts")
    signed = aws_sign_request(request, config).result()
    connection = HttpClientConnection.new(aws.hostname, aws.port, bootstrap).result()
    stream = connection.request(signed)
    stream.activate()
    status = stream.completion_future.result()
    assert status == 200, f"STS answers {status}"
    return {"key": credential(signed.headers.get("Authorization"))}


serve(call)
