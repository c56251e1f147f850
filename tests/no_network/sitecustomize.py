"""Started by every Python that finds it on its path: whatever asks a network is noted and fails.

Names are not looked up, and no address but that of another process of this machine by a file
(AF_UNIX) is connected or sent to, by whatever way Python offers. NETWORK_LOG names the file.
"""

import os
import sys
import traceback

_ASKING = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "socket.getnameinfo",
    "socket.sendto",
    "socket.sendmsg",
)


def _refuse(event, arguments):
    if event not in _ASKING:
        return
    address = arguments[1] if event in ("socket.connect", "socket.sendto", "socket.sendmsg") else ""
    is_inside = event.startswith(("socket.connect", "socket.send")) and not isinstance(
        address, tuple
    )
    if is_inside:
        return
    with open(os.environ["NETWORK_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{event} {arguments[:2]}\n{''.join(traceback.format_stack(limit=25))}\n")
    raise OSError(f"{event} {arguments[:2]}: a test allows no network")


if "NETWORK_LOG" in os.environ:
    sys.addaudithook(_refuse)
