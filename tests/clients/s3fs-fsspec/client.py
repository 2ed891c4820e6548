"""A long-lived file system of s3fs, as pandas and dask open it: one object is read at each call."""

import os

import s3fs

from told import serve

files = s3fs.S3FileSystem()


def call():
    assert files.cat_file(f"{os.environ['CLIENT_BUCKET']}/hello") == b"hello\n"


serve(call)
