"""What tests of `cropfit serve` share: a server in a process of its own, and how to ask it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from shell import started


class Server:
    """A server in a process of its own; asked with its token unless told otherwise."""

    def __init__(self, *args: str) -> None:
        self.process = started("serve", *args)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        parts = urlsplit(self.address)
        self.host = parts.netloc
        self.token = parse_qs(parts.query)["token"][0]

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, Any]:
        headers.setdefault("X-Token", self.token)
        headers = {name: value for name, value in headers.items() if value}
        request = urllib.request.Request(
            f"http://{self.host}{path}", headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=200) as answer:
                body, kind = answer.read(), answer.headers["content-type"]
                if "json" in kind:
                    return answer.status, json.loads(body)
                return answer.status, body if "image" in kind else body.decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path: str) -> Any:
        status, told = self.ask(path)
        assert status == 200, told
        return told


@contextmanager
def serving(*args: str) -> Iterator[Server]:
    server = Server(*args)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()
