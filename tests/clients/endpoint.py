"""What stands in for the relay, or before its STS, where a scenario needs a moment that the real ones do not give."""

import http.server
import json
import socket
import threading
from datetime import datetime, timedelta, timezone

from harness import carry
from servers import Listening

TOKEN = "token-of-the-scripted-endpoint-0123456789"


class Endpoint:
    """The endpoint with a credential that always has as many seconds left as it is told, in the shape of the contract."""

    def __init__(self, key, folder):
        self.seconds_left = 3600
        self.asked = 0
        self._key = key
        self.token_file = folder / "scripted-token"
        self.token_file.write_text(TOKEN)
        scripted = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if self.headers.get("Authorization", "").removeprefix("Bearer ") == TOKEN:
                    scripted.asked += 1
                    self._answer(200, scripted.document())
                else:
                    refusal = {"code": "InvalidToken", "message": "no such token"}
                    self._answer(401, {**refusal, **{name.title(): text for name, text in refusal.items()}})

            def _answer(self, status, document):
                body = json.dumps(document, separators=(",", ":")).encode()
                self.send_response_only(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._listening = Listening(Handler)
        self.uri = f"{self._listening.address}/v1/credentials/app"

    def document(self):
        ends = datetime.now(timezone.utc) + timedelta(seconds=self.seconds_left)
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": self._key["AccessKeyId"],
            "SecretAccessKey": self._key["SecretAccessKey"],
            "Token": self._key["SessionToken"],
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def stop(self):
        self._listening.stop()


class Gate:
    """A way to a server that lets nothing through until it is opened; what came before then is waiting at it."""

    def __init__(self, address):
        host, port = address.removeprefix("http://").split(":")
        self._server = (host, int(port))
        self._opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self):
        self._opened.set()

    def stop(self):
        self._opened.set()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        self._opened.wait()
        with connection, socket.create_connection(self._server) as server:
            carry(connection, server)
