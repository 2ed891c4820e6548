"""A long-lived S3FileSystem of pyarrow, which is the AWS SDK for C++ inside: one object is read at each call."""

import os

from pyarrow.fs import S3FileSystem

from told import serve

files = S3FileSystem(endpoint_override=os.environ["CLIENT_ENDPOINT"])


def call():
    with files.open_input_stream(f"{os.environ['CLIENT_BUCKET']}/hello") as hello:
        assert hello.read() == b"hello\n"


serve(call)
