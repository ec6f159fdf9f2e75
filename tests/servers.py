"""A server whose answers a test defines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = Callable[[dict[str, Any]], Any]
"""A function from a request (with its Authorization) to the server's response: a status and bytes, the text of a model,
or the bytes of a body."""


@contextmanager
def server(say: Said, models: list[str] | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of chat completions, its URL, and the requests that it got."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = [{"id": name, "object": "model"} for name in models or ["tiny"]]
            self._send(200, json.dumps({"object": "list", "data": listed}).encode())

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            asked[-1]["Authorization"] = self.headers["Authorization"]
            said = say(asked[-1])
            if isinstance(said, Iterator):
                with suppress(OSError):  # the client has gone
                    self.send_response(200)
                    self.end_headers()
                    for part in said:
                        self.wfile.write(part)
                return
            if isinstance(said, str):
                message = {"role": "assistant", "content": said}
                said = 200, json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
            self._send(*said)

        def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client has gone
                pass

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_address[1]}/v1", asked
        finally:
            made.shutdown()
            thread.join()
