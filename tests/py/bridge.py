"""Carries connections between two places: bridge.py FROM TO, each tcp:PORT of this loopback or unix:PATH. One of its ends may be
in another network namespace than whoever looks for the other: a socket in a folder is seen from both."""

import asyncio
import sys


def there(place):
    kind, _, where = place.partition(":")
    if kind == "tcp":
        return asyncio.open_connection("127.0.0.1", int(where))
    return asyncio.open_unix_connection(where)


async def carried(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def between(reader, writer):
    try:
        far_reader, far_writer = await there(sys.argv[2])
    except OSError:
        writer.close()
        return
    await asyncio.gather(carried(reader, far_writer), carried(far_reader, writer))


async def main():
    kind, _, where = sys.argv[1].partition(":")
    if kind == "tcp":
        server = await asyncio.start_server(between, "127.0.0.1", int(where))
    else:
        server = await asyncio.start_unix_server(between, where)
    await server.serve_forever()


asyncio.run(main())
