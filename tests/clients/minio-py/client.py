"""A long-lived minio-py client with its provider for AWS: one object is read at each call."""

import os
from urllib.parse import urlsplit

from minio import Minio
from minio.credentials import IamAwsProvider

from told import serve

provider = IamAwsProvider()
client = Minio(
    urlsplit(os.environ["CLIENT_ENDPOINT"]).netloc,
    credentials=provider,
    secure=False,
    region=os.environ["AWS_REGION"],
)


def call():
    answer = client.get_object(os.environ["CLIENT_BUCKET"], "hello")
    try:
        assert answer.read() == b"hello\n"
    finally:
        answer.close()
        answer.release_conn()


serve(call)
