"""The signaling house: what participants say live. Joins media, classroom and proctor; knows no SQL, SDP or pixels.

`signaling.server.make_server(Context(...))` is a web node's live side, `signaling.tasks.register` its worker's part,
`signaling.protocol` the contract with the page. Importing the package alone loads no Socket.IO server.
"""

from signaling.context import Context, connect_redis, epoch_ms

__all__ = ["Context", "connect_redis", "epoch_ms"]
