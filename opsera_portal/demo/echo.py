"""The small endpoint that the demo's pipelines call. It answers with the request that it got.

It has its own loopback address, so that HTTP steps need to be allowed to reach only this one. `/status/503` answers
with that status, `/slow/2` after two seconds.
"""

import contextlib
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = "127.0.0.2"


class EchoHandler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, 65536)).decode("utf-8", "replace")
        if match := re.fullmatch(r"/slow/(\d)", self.path):
            time.sleep(int(match[1]))
        match = re.fullmatch(r"/status/([2-5]\d\d)", self.path)
        text = json.dumps({"method": self.command, "path": self.path, "body": body})
        self.send_response(int(match[1]) if match else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Silent, because the logs of the runs show each call."""


def main() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        ThreadingHTTPServer((ADDRESS, int(sys.argv[1])), EchoHandler).serve_forever()


if __name__ == "__main__":
    main()
