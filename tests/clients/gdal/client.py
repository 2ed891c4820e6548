"""One process that reads by GDAL's /vsis3/, of the GDAL in rasterio's wheel; see ../README.md for the protocol."""

import json
import os
import sys

import rasterio
from rasterio.errors import RasterioIOError

for _ in sys.stdin:
    answer = {"ok": True}
    try:
        rasterio.open(f"/vsis3/{os.environ['CLIENT_BUCKET']}/hello")
    except RasterioIOError as error:
        # The object is no picture, which GDAL says only of one that it has read.
        if "not recognized as being in a supported file format" not in str(error):
            answer = {"ok": False, "error": f"rasterio.errors.RasterioIOError: {error}"}
    print(json.dumps(answer), flush=True)
