"""The server: who may ask, what for, and the page."""

from __future__ import annotations

import hmac
import math
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cropfit.errors import CropError, NotFoundError
from cropfit.views.server.feed import Farm, Feed
from cropfit.views.server.objects import Query

HOST = "127.0.0.1"
PAGE = os.path.join(os.path.dirname(__file__), "page.html")
GUARDS = {
    # The page may talk to this server and to nobody else, and nobody may frame it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_app(farm: Farm, token: str, port: int, *, allow_actions: bool = False) -> Starlette:
    """The application.

    Parameters
    ----------
    farm : Farm
        The crops.
    token : str
        Who does not give it is refused.
    port : int
        Where it listens: a request that was meant for another host is refused.
    allow_actions : bool
        Whether the page may stop, retry and clean.
    """

    def check(request: Request) -> None:
        # A page of another site may send its visitors here under a name of its own.
        if request.headers.get("host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            raise HTTPException(421, "this server answers to localhost alone")
        given = request.headers.get("x-token") or request.query_params.get("token", "")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise HTTPException(403, "the token is missing or wrong: use the address as printed")

    def answer(ask: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            check(request)
            try:
                told = await run_in_threadpool(ask, request)
                if isinstance(told, bytes):
                    return Response(told, media_type="image/png", headers=GUARDS)
                return JSONResponse(_plain(told), headers=GUARDS)
            except NotFoundError as error:
                raise HTTPException(404, str(error)) from None
            except (CropError, OSError) as error:
                raise HTTPException(409, str(error)) from None
            except ValueError as error:
                raise HTTPException(400, str(error)) from None

        return endpoint

    async def page(request: Request) -> Response:
        check(request)
        with open(PAGE, encoding="utf-8") as file:
            return HTMLResponse(file.read(), headers=GUARDS)

    def act(request: Request) -> Any:
        if not allow_actions:
            raise HTTPException(403, "this server only shows: start it with --allow-actions")
        if "x-token" not in request.headers:  # which no form of another site can send
            raise HTTPException(403, "actions want the token as a header")
        return {"said": feed(request).act(request.path_params["action"])}

    def feed(request: Request) -> Feed:
        return farm.feed(_word(request, "crop"))

    asked: dict[str, Callable[[Request], Any]] = {
        "crops": lambda r: {"actions": allow_actions, **farm.summaries()},
        "batches": lambda r: feed(r).batches(_since(r)),
        "errors": lambda r: feed(r).errors(_int(r, "page", 0)),
        "heat": lambda r: feed(r).heat(_word(r, "x"), _word(r, "y"), _word(r, "what"), _since(r)),
        "objects": lambda r: feed(r).objects(_query(r), _since(r)),
        "picture": lambda r: feed(r).picture(_word(r, "id"), _word(r, "kind")),
    }
    routes = [
        Route("/", page),
        *(Route(f"/api/{name}", answer(ask)) for name, ask in asked.items()),
        Route("/api/actions/{action}", answer(act), methods=["POST"]),
    ]
    squeeze = Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    return Starlette(routes=routes, middleware=[squeeze])


def _query(request: Request) -> Query:
    down = _word(request, "down") == "1"
    return Query(_int(request, "page", 0), _word(request, "sort"), down, _word(request, "find"))


def _since(request: Request) -> int:
    return _int(request, "since", -1)


def _word(request: Request, name: str) -> str:
    return request.query_params.get(name, "")


def _int(request: Request, name: str, default: int) -> int:
    return int(request.query_params.get(name, default))


def _plain(data: Any) -> Any:
    """The same as JSON has it, which knows no NaN, no arrays' scalars, and no tuples."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    return data if isinstance(data, (str, int, bool, type(None))) else str(data)


def serve(
    farm: Farm,
    *,
    port: int = 0,
    allow_actions: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve crops on this machine until Ctrl-C.

    Parameters
    ----------
    farm : Farm
        The crops.
    port : int
        Where; 0 for any that is free.
    allow_actions : bool
        Whether the page may stop, retry and clean.
    ready : callable
        Told the address, with its token, once it can be opened.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen()
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(16)
    app = make_app(farm, token, port, allow_actions=allow_actions)
    ready(f"http://{HOST}:{port}/?token={token}")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
