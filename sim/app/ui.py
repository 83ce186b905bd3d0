"""`ui`: the local page, on loopback, until Ctrl-C."""

from __future__ import annotations

import errno
import socket
import sys
from importlib.util import find_spec
from types import FrameType
from typing import Annotated

import typer

from ..errors import InputError
from .command import command
from .output import Call

PORT = 8421
HOST = "127.0.0.1"
NEEDED = ("fastapi", "uvicorn", "plotly", "jinja2")
STOP_WITHIN_S = 3


@command()
def ui(
    call: Call,
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any that is free.")] = PORT,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", metavar=" ", help="Open the page in the browser.")
    ] = True,
) -> int:
    """Show the page until Ctrl-C."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f"ui: {', '.join(missing)} is not installed. Run: pip install 'gambrel[ui]'")
    listening = bound(port)
    call.library()  # a wrong --catalog is said before anything starts
    address = f"http://{HOST}:{listening.getsockname()[1]}"
    print(f"Gambrel's page: {address}   (Ctrl-C ends it)", flush=True)
    if browser:
        _open(address)
    return _serve(call, listening)


def bound(port: int) -> socket.socket:
    """A socket that listens on loopback alone. Raises InputError if the port is taken."""
    # the protocol is named so that answers are sent without waiting for more (TCP_NODELAY is set only then)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":  # there it would let two servers share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(64)
    except OSError as error:
        listening.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise InputError(f"--port {port} {why}. Give another, or --port 0 for one that is free.") from None
    return listening


def _open(address: str) -> None:
    """In a thread: finding a browser takes a moment, and connections wait until the server answers."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _serve(call: Call, listening: socket.socket) -> int:
    import uvicorn

    from .page.server import build

    app = build(call.catalog)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        limit_concurrency=128,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )

    class Server(uvicorn.Server):
        """Ends simulations first, so that those who follow them are told, and nobody is waited for."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.service.runs.close()
            super().handle_exit(sig, frame)

    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
    print("stopped")
    return 0
