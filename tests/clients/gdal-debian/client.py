"""One process that reads by GDAL's /vsis3/; see ../README.md for what it reads and prints."""

import json
import os
import sys

from osgeo import gdal

gdal.UseExceptions()
path = f"/vsis3/{os.environ['CLIENT_BUCKET']}/hello"
for _ in sys.stdin:
    gdal.VSICurlClearCache()
    gdal.ErrorReset()
    file = None
    try:
        file = gdal.VSIFOpenL(path, "rb")
        read = gdal.VSIFReadL(1, 5, file) if file else None
    except RuntimeError:
        read = None
    if file:
        gdal.VSIFCloseL(file)
    answer = {"ok": True} if read == b"hello" else {"ok": False, "error": gdal.VSIGetLastErrorMsg() or gdal.GetLastErrorMsg()}
    print(json.dumps(answer), flush=True)
