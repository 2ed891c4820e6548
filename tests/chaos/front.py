"""The way to an upstream, which can be broken: TLS or none towards the relay, plain towards the upstream."""

import contextlib
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from harness import keep_port

REQUEST = b" HTTP/1.1\r\n"


class Front:
    """Carries requests to `upstream`, writes down when each came, and does to them what it was told last."""

    def __init__(self, upstream, certificate=None):
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port)
        self._certificate = certificate
        self._lock = threading.Lock()
        self._open = set()
        self._listener = None
        # While nobody listens, too.
        self._kept = keep_port()
        self._port = self._kept.getsockname()[1]
        self.requests = []
        self.heal()

    @property
    def port(self):
        return self._port

    @property
    def address(self):
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self._port}"

    def heal(self):
        """As at first."""

        self._hang_after = None
        self._hold_answers = None
        # Answers come so many seconds later.
        self.delay = 0
        self._keep = None
        self.shown = self._certificate
        self.cut()
        if self._listener is None:
            self._listen()

    def refuse(self):
        """Nobody listens."""

        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        self.cut()

    def hang(self, after=0):
        """Lets so many requests through; further ones are read and nothing more."""

        self._hang_after = len(self.requests) + after

    def hold_answers(self, after=0):
        """Keeps back the answers to all requests but the next few, until the event that this gives is set."""

        self._hold_answers = (len(self.requests) + after, threading.Event())
        return self._hold_answers[1]

    def break_off(self, keep):
        """Only so many bytes come of each answer."""

        self._keep = keep

    def show(self, certificate):
        """Another certificate from now on."""

        self.shown = certificate
        self.cut()

    def cut(self):
        """Ends all connections."""

        with self._lock:
            ended, self._open = self._open, set()
        for connection in ended:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self):
        if self._listener is not None:
            self.refuse()
        self._kept.close()

    def since(self, moment):
        return [at for at in self.requests if at >= moment]

    def _listen(self):
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError, ssl.SSLError):
            with self._secured(connection) as inner, socket.create_connection(self._upstream) as outer:
                with self._lock:
                    self._open |= {inner, outer}
                try:
                    back = threading.Thread(target=self._answers, args=(outer, inner), daemon=True)
                    back.start()
                    self._asks(inner, outer)
                    back.join()
                finally:
                    with self._lock:
                        self._open -= {inner, outer}

    def _secured(self, connection):
        if self.shown is None:
            return connection
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.shown.certificate, self.shown.key)
        connection.settimeout(10)
        secured = context.wrap_socket(connection, server_side=True)
        secured.settimeout(None)
        return secured

    def _asks(self, source, sink):
        try:
            while data := source.recv(65536):
                self.requests += [time.time()] * data.count(REQUEST)
                if self._hang_after is not None and len(self.requests) > self._hang_after:
                    continue
                sink.sendall(data)
        finally:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

    def _answers(self, source, sink):
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := source.recv(65536):
                held = self._hold_answers
                if held is not None and len(self.requests) > held[0]:
                    held[1].wait(60)
                if self.delay:
                    time.sleep(self.delay)
                if self._keep is not None:
                    sink.sendall(data[: self._keep])
                    break
                sink.sendall(data)
        with contextlib.suppress(OSError, ssl.SSLError):
            sink.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)


def swallow(address, port=53):
    """A name server that answers nothing: (the socket, when each question came)."""

    asked = []
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind((address, port))
    # A thread that waits for ever in it would keep the address after it was closed.
    listening.settimeout(0.1)

    def read():
        while listening.fileno() >= 0:
            with contextlib.suppress(OSError):
                listening.recv(2048)
                asked.append(time.time())

    threading.Thread(target=read, daemon=True).start()
    return listening, asked
