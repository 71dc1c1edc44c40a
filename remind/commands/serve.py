"""`remind serve`: a run as a service on this machine's network."""

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress

from remind.cohort.extras import require
from remind.errors import InputError
from remind.serve import Service, make_app
from remind.training import Run


def serve_run(run: Run, host: str, port: int, tell: Callable[[str], object]) -> None:
    """Answer requests until it is interrupted.

    Args:
        run: opened from its folder.
        host: name or address to listen on.
        port: 0 takes a free one.
        tell: is told where it listens, and what the service cannot do with this run.

    Raises:
        InputError: nothing can listen there, or a package is not installed.
    """
    uvicorn = require("uvicorn", "serve", "remind serve")
    listening = _listen(host, port)
    with listening:
        app = make_app(Service(run, tell))
        address = listening.getsockname()
        if not ipaddress.ip_address(address[0]).is_loopback:
            tell(
                f"whoever reaches {address[0]} can send patients: put it behind a server that "
                "encrypts and asks who they are"
            )
        shown = f"[{host}]" if ":" in host else host
        tell(f"serving {run.spec.cohort.name} on http://{shown}:{address[1]} (Ctrl-C ends it)")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound.

    Raises:
        InputError: the port is out of range, taken or not allowed, or the host is not of this
            machine.
    """
    if not 0 <= port < 2**16:
        raise InputError(f"--port must be from 0 to {2**16 - 1}, got {port}")
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise InputError(
            f"nothing can listen on {host}, port {port} ({error.strerror}): "
            "name another with --host or --port"
        ) from error
