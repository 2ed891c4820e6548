"""A small HTTP server on a loopback port that the kernel picks, with TLS where it is wanted."""

import http.server
import ssl
import threading


class Listening:
    """Serves by a `BaseHTTPRequestHandler` until it is stopped, at `address`."""

    def __init__(self, handler, tls=None, client_authority=None):
        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            # A client that has given up, or does not trust the certificate, is what is wanted.
            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), handler)
        scheme = "http"
        if tls:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            if client_authority:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(client_authority)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.address = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
