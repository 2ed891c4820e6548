"""A long-lived aiobotocore client of STS."""

import asyncio

from aiobotocore.session import get_session

from told import credential, serve

used = []
loop = asyncio.new_event_loop()
made = None


def note_key(request, **_):
    used.append(credential(request.headers["Authorization"]))


async def call():
    global made
    if made is None:
        made = await get_session().create_client("sts").__aenter__()
        made.meta.events.register("before-send.sts", note_key)
    await made.get_caller_identity()
    return {"key": used[-1]}


serve(lambda: loop.run_until_complete(call()))
if made:
    loop.run_until_complete(made.__aexit__(None, None, None))
