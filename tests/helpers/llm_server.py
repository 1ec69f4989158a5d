"""A local server that speaks the chat-completions API, and misbehaves as it is told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Any  # text of the answer; int: an HTTP status; float: seconds of silence; bytes: the body as it is


@dataclass
class LlmServer:
    """reply: (number of the request, question) -> Reply."""

    reply: Callable[[int, str], Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    base_url: str = ""

    @property
    def questions(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.requests]


def chat(text: object) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    ).encode()


@contextmanager
def serving(reply: Callable[[int, str], Reply]) -> Iterator[LlmServer]:
    """A server on 127.0.0.1 for the length of the block."""
    server = LlmServer(reply)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.requests)
                server.requests.append(body)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = reply(number, body["messages"][-1]["content"])
            if isinstance(answer, float):
                time.sleep(answer)
                answer = 503
            status = answer if isinstance(answer, int) else 200
            if isinstance(answer, int):
                answer = json.dumps({"error": {"message": f"no: {self.headers.get('Authorization')}"}}).encode()
            if isinstance(answer, str):
                answer = chat(answer)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    server.base_url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
