"""A long-lived S3 client of Mountpoint, as PyTorch's connector makes it: one object is asked for at each call."""

import os

from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

from told import serve

# Ten attempts are its default, and a minute where a proxy does not answer.
client = MountpointS3Client(
    region=os.environ["AWS_REGION"], endpoint=os.environ["CLIENT_ENDPOINT"], force_path_style=True, max_attempts=2
)


def call():
    assert client.head_object(os.environ["CLIENT_BUCKET"], "hello").size == 6


serve(call)
