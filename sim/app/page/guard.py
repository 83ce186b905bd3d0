"""Who may ask: loopback names only, the page's own origin only, small JSON bodies only; and what a browser may do with an answer.

A page elsewhere can make a browser send requests to this port. It cannot read answers, but a name that is re-bound to 127.0.0.1
could: such a request carries that name as its Host. Hence the Host is checked first, then Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

MOST_BODY_BYTES = 262_144
MOST_PATH = 2_000
BODY_WITHIN_S = 20.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
# what is drawn carries its styles as attributes; scripts and style sheets come from here alone
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Wraps an ASGI application."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        guarded = _with_headers(send)
        refusal = refused(scope["method"], scope["path"], _headers(scope))
        if refusal is not None:
            await _refuse(guarded, *refusal)
            return
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, guarded)
            return
        body = await _body(receive)
        if isinstance(body, bytes):
            await self.app(scope, _once(body, receive), guarded)
        else:
            await _refuse(guarded, *body)


def refused(method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
    """Status and reason if a request is turned away before its body is read; None if it may pass."""
    host = headers.get("host", "")
    if _name(host) not in LOOPBACK:
        return 403, f"Host {host[:80]!r} is not this machine's loopback. Open the address that `gambrel ui` printed."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return 403, f"Origin {origin[:80]!r} is another site. Use the page itself, or a client that sends no Origin."
    if headers.get("sec-fetch-site", "none") == "cross-site" and (method != "GET" or path.startswith("/api/")):
        return 403, "The request comes from another site. Use the page itself."
    if len(path) > MOST_PATH:
        return 414, "The path is too long."
    if method in ("POST", "PUT", "PATCH"):
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "Send application/json."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY_BYTES:
            return 413, f"A body may hold {MOST_BODY_BYTES:,} bytes at most. Send less."
    return None


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _headers(scope: Scope) -> dict[str, str]:
    """Names are lower case; a header that comes twice is joined, and so equals nothing that is let in."""
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


async def _body(receive: Receive) -> bytes | tuple[int, str]:
    """The whole body, or status and reason: also one that states no length is cut off where it gets too long."""
    parts = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return 400, "The request broke off."
                parts += message.get("body", b"")
                if len(parts) > MOST_BODY_BYTES:
                    return 413, f"A body may hold {MOST_BODY_BYTES:,} bytes at most. Send less."
                if not message.get("more_body", False):
                    return bytes(parts)
    except TimeoutError:
        return 408, "The body took too long."


def _once(body: bytes, receive: Receive) -> Receive:
    """What was read already, then whatever comes after it."""
    left = [body]

    async def again() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return guarded


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": {"kind": "refused", "message": reason, "field": None}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
