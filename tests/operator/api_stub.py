"""An API server of a few lines, on a real port: objects with versions, and answers as a test wants them.

It knows create, get, replace with its precondition, merge patch and delete of any path; nothing of schemas.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from kubernetes import client

from sybline_operator.json_object import Json

Answer = tuple[int, Json | bytes]  # bytes: sent as they are


class ApiStub:
    """What is stored, what was asked, and what to answer instead."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.asked: list[tuple[str, str]] = []
        self.instead: Callable[[str, str], Answer | None] = lambda _method, _path: None
        self._version = 0
        self._lock = threading.Lock()

    def new_client(self) -> client.ApiClient:
        settings = client.Configuration()
        settings.host = self.url
        settings.retries = False
        return client.ApiClient(settings)

    def answer(self, method: str, target: str, body: Json) -> Answer:
        path = urlsplit(target).path
        with self._lock:
            self.asked.append((method, path))
            return self.instead(method, path) or getattr(self, f"_{method.lower()}")(path, body)

    def _get(self, path: str, _: Json) -> Answer:
        return (200, self.objects[path]) if path in self.objects else _status(404, "not found")

    def _post(self, path: str, body: Json) -> Answer:
        path = f"{path}/{body['metadata']['name']}"
        return _status(409, "is there") if path in self.objects else (201, self._store(path, body))

    def _put(self, path: str, body: Json) -> Answer:
        wanted = body["metadata"].get("resourceVersion")
        if path not in self.objects or self.objects[path]["metadata"]["resourceVersion"] != wanted:
            return _status(409, "the object has been modified")
        return 200, self._store(path, body)

    def _patch(self, path: str, body: Json) -> Answer:
        if path not in self.objects:
            return _status(404, "not found")
        return 200, self._store(path, {**self.objects[path], **body})

    def _delete(self, path: str, _: Json) -> Answer:
        return (200, self.objects.pop(path)) if path in self.objects else _status(404, "not found")

    def _store(self, path: str, body: Json) -> Json:
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        self.objects[path] = {**body, "metadata": metadata}
        return self.objects[path]

    @contextmanager
    def serving(self) -> Iterator["ApiStub"]:
        """Listen for the time of a block."""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                status, answer = stub.answer(self.command, self.path, body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _status(code: int, message: str) -> Answer:
    return code, {"kind": "Status", "code": code, "message": message}
