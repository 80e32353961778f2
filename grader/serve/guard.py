"""Who may ask the server anything: this page with this start's token, under a name of this machine, and nobody else."""

import hmac
from collections.abc import Callable
from secrets import token_urlsafe

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grader.serve.wire import Refused

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types statement"
)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_BODIES = ("POST", "PUT", "PATCH")
Named = Callable[[str], bool]
"""Whether a `Host` is a name of this server."""


def new_token() -> str:
    """256 bits that nobody guesses."""
    return token_urlsafe(32)


def local(port: int) -> Named:
    """The names of a server that listens on this machine's own addresses."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}).__contains__


def anything(host: str) -> bool:
    """Behind a proxy the name is the proxy's, and who may come through is its affair; it must be there all the same."""
    return bool(host)


class Guard:
    """Lets through what the page itself asks. Everything below `api/` needs the token; nothing else holds data.

    named: whether a `Host` is a name of this server; another one is how a stranger's page reaches it by DNS rebinding.
    again: a sentence that says how to open the page again.
    """

    def __init__(self, app: ASGIApp, token: str, named: Named, again: str) -> None:
        self._app = app
        self._token = token.encode()
        self._named = named
        self._again = again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: there is none
            await send({"type": "websocket.close", "code": 1008})
            return
        nonce = token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_ALWAYS)
                headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal:
            status, why = refusal
            answer = Response(msgspec.json.encode(Refused(error=why)), status, media_type="application/json")
            await answer(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for who may not ask this; from raw headers, since a name twice is two answers."""
        said = _headers(scope)
        hosts = said.get("host", [])
        if len(hosts) != 1 or not self._named(hosts[0]):
            return 421, f"This server does not answer under that name. {self._again}"
        if not scope["path"].startswith("/api/"):
            return None
        origins, sites = said.get("origin", []), said.get("sec-fetch-site", [])
        own = {f"http://{hosts[0]}", f"https://{hosts[0]}"}  # the second where a proxy speaks TLS for it
        if not own.issuperset(origins) or not {"same-origin"}.issuperset(sites):
            return 403, "Only the practice page itself may ask this."
        if not any(self._is_token(one) for one in said.get("authorization", [])):
            return 401, f"The server was started anew. {self._again}"
        kinds = [one.partition(";")[0].strip().lower() for one in said.get("content-type", [])]
        if scope["method"] in _BODIES and kinds != ["application/json"]:
            return 415, "A request is JSON: Content-Type: application/json."
        return None

    def _is_token(self, authorization: str) -> bool:
        kind, _, token = authorization.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token)


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found
