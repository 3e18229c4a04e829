"""The demo's service behind the portal: a few dashboards, and the proxy in front of them, in one small program.

The proxy does what nginx does with the lines on the page of the service: it asks the portal about each request before
it lets it through. It has its own loopback address, so that the portal can trust only this one as a proxy, and so that
browsers send it no cookie of the portal.
"""

import contextlib
import json
import sys
from html import escape
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ADDRESS = "127.0.0.3"
# What the portal says about the caller, without the beginning of the names.
KNOWN = ("User", "Email", "Role", "Groups", "Scopes", "Token")
MOST_BYTES = 65536
# Addresses of the service that the portal answers: signing in, and coming back.
SIGN_IN = "/.portal/"
_PASSED_ON = (
    "Authorization",
    "Cookie",
    "User-Agent",
    "Accept",
    "Origin",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "Content-Type",
)
_ANSWERED = ("Content-Type", "Location", "Set-Cookie", "WWW-Authenticate", "Cache-Control", "X-Portal-Sign-In")


class Front(BaseHTTPRequestHandler):
    """Asks the portal, and answers as the dashboards do."""

    portal_port: int
    service_id: str

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, MOST_BYTES))
        try:
            if self.path.startswith(SIGN_IN):
                self._pass_on(self._portal(f"/auth/service/{self.service_id}/{self.path.removeprefix(SIGN_IN)}", body))
            else:
                self._checked()
        except (OSError, HTTPException):
            self._send(502, [], b"The portal does not answer.\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def _checked(self) -> None:
        asked = {"X-Original-Method": self.command, "X-Original-URI": self.path}
        verdict = self._portal(f"/auth/verify/{self.service_id}", b"", asked)
        if verdict.status == 200:
            verdict.read()
            self._dashboards({name: verdict.headers[f"X-Auth-Request-{name}"] or "" for name in KNOWN})
        elif verdict.status == 401 and verdict.headers["X-Portal-Sign-In"] and self._is_browser():
            verdict.read()
            self._send(302, [("Location", verdict.headers["X-Portal-Sign-In"])], b"")
        else:
            self._pass_on(verdict)

    def _portal(self, path: str, body: bytes, more: dict[str, str] | None = None) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.portal_port, timeout=10, source_address=(ADDRESS, 0))
        sent = {name: self.headers[name] for name in _PASSED_ON if self.headers[name]}
        sent |= {"X-Forwarded-For": self.client_address[0], "Connection": "close", **(more or {})}
        method = "GET" if more else self.command
        connection.request(method, path, body or None, sent)
        return connection.getresponse()

    def _pass_on(self, answer: HTTPResponse) -> None:
        headers = [(name, value) for name in _ANSWERED for value in answer.headers.get_all(name, [])]
        self._send(answer.status, headers, answer.read())

    def _dashboards(self, caller: dict[str, str]) -> None:
        """The service itself: this request was let through."""
        if self._is_browser():
            lines = "".join(f"<dt>{name}</dt><dd>{escape(value) or '–'}</dd>" for name, value in caller.items())
            page = PAGE.format(method=self.command, path=escape(self.path), lines=lines)
            self._send(200, [("Content-Type", "text/html; charset=utf-8")], page.encode())
            return
        path = urlsplit(self.path).path
        said = {"method": self.command, "path": path, "caller": caller, "dashboards": ["Builds", "Deployments"]}
        self._send(200, [("Content-Type", "application/json")], json.dumps(said, indent=2).encode() + b"\n")

    def _is_browser(self) -> bool:
        return "text/html" in self.headers.get("Accept", "")

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silent: the portal's log has each request."""


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Dashboards</title>
<meta name="color-scheme" content="light dark">
<body style="font:16px/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem">
<h1>Dashboards</h1><p>This is the demo's service. Its proxy asked the portal, and the portal let you in.</p>
<p>{method} {path}</p><h2>What the portal said about you</h2>
<dl style="overflow-wrap:anywhere">{lines}</dl><p><a href="/.portal/sign-out">Sign out of this service</a></p>
"""


def main() -> None:
    port, Front.portal_port, Front.service_id = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with contextlib.suppress(KeyboardInterrupt):
        ThreadingHTTPServer((ADDRESS, port), Front).serve_forever()


if __name__ == "__main__":
    main()
