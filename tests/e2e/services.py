"""Real servers for clients to talk to, behind one wire: nginx, dnsmasq, and an echo that no parser
understands.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype

from tests.e2e.net import End, Namespace, Network, command
from tests.e2e.traffic import listening
from tests.e2e.waiting import wait_until

TLS_PORTS = (443, 8443)
HTTP_PORTS = (80, 18080)
ECHO_PORT = 7007

_TIMEOUT_S = 10.0

_NGINX = """
daemon off; user root; pid {folder}/nginx.pid; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off; keepalive_requests 1000000; client_max_body_size 50m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key};
  server {{
    {listen}
    root {folder}; error_page 405 =200 $uri;
  }}
}}
"""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "30", "-subj", "/CN=e2e", "-keyout", str(key), "-out", str(cert)),
    )
    return cert, key


def address(number: int, ipv6: bool = False) -> str:
    """One of the servers' addresses."""
    return f"2001:db8::{number:x}" if ipv6 else f"203.0.113.{number}"


def serve_addresses(client: End, server: End, ipv6: bool = False) -> None:
    """Many addresses at the far end of a wire, with no ARP for any."""
    far, near = server.namespace, client.namespace
    far.ip("route add local 203.0.113.0/24 dev lo")
    near.ip(f"route add 203.0.113.0/24 via {server.ipv4}")
    if ipv6:
        far.sysctl("net.ipv6.ip_nonlocal_bind", 1)
        far.ip("route add local 2001:db8::/64 dev lo")
        near.ip(f"route add 2001:db8::/64 via {server.ipv6}")


def start_nginx(namespace: Namespace, folder: Path, certificate: tuple[Path, Path]) -> None:
    """Serves `/1k` and `/1m` on TLS_PORTS and HTTP_PORTS, and answers to what is posted."""
    (folder / "1k").write_bytes(bytes(1 << 10))
    (folder / "1m").write_bytes(bytes(1 << 20))
    listen = [f"listen {port} ssl; listen [::]:{port} ssl;" for port in TLS_PORTS]
    listen += [f"listen {port}; listen [::]:{port};" for port in HTTP_PORTS]
    cert, key = certificate
    settings = folder / "nginx.conf"
    settings.write_text(
        _NGINX.format(folder=folder, cert=cert, key=key, listen="\n    ".join(listen))
    )
    namespace.start("nginx", "-e", "stderr", "-c", str(settings))
    wait_until(lambda: all(listening(namespace, port) for port in TLS_PORTS + HTTP_PORTS))


class Dnsmasq:
    """A DNS server that can be given other answers."""

    def __init__(self, namespace: Namespace, listen: str, *options: str) -> None:
        self._namespace = namespace
        self._listen = listen
        self.start(*options)

    def start(self, *options: str) -> None:
        """*options*: its records and servers."""
        self._process = self._namespace.start(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv"),
            *("--no-hosts", "--user=root", "--pid-file=", "--log-facility=-"),
            *("--bind-interfaces", f"--listen-address={self._listen}", *options),
        )
        wait_until(lambda: listening(self._namespace, 53))

    def restart(self, *options: str) -> None:
        """With other options, and an empty cache."""
        self.stop()
        self.start(*options)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def ask(
    client: Namespace,
    server: str,
    name: str,
    qtype: str = "A",
    tcp: bool = False,
    timeout_s: float = _TIMEOUT_S,
) -> dns.message.Message:
    """One question, from a port of its own. Raises dns.exception.Timeout."""
    query = dns.message.make_query(name, dns.rdatatype.from_text(qtype))
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    if tcp:
        with client.socket(family, socket.SOCK_STREAM) as plug:
            plug.settimeout(timeout_s)
            plug.connect((server, 53))
            return dns.query.tcp(query, server, timeout_s, sock=plug)
    with client.socket(family, socket.SOCK_DGRAM) as plug:
        plug.setblocking(False)
        return dns.query.udp(query, server, timeout_s, sock=plug)


class Server:
    """Accepts connections in threads; subclasses say what happens with one."""

    def __init__(self, namespace: Namespace, port: int, family: int = socket.AF_INET6) -> None:
        self._listener = namespace.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("", port))
        self._listener.listen(64)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plug, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(plug,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, plug: socket.socket) -> None:
        with suppress(OSError), plug:
            plug.settimeout(_TIMEOUT_S)
            self.serve(plug)

    def serve(self, plug: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


class Echo(Server):
    """Sends back what it gets, as long as the client likes."""

    def serve(self, plug: socket.socket) -> None:
        plug.settimeout(None)
        while data := plug.recv(65536):
            plug.sendall(data)


class Proxy(Server):
    """Answers to CONNECT, and passes everything on to one port of its own host."""

    def __init__(self, namespace: Namespace, port: int, target_port: int) -> None:
        self._namespace = namespace
        self._target_port = target_port
        super().__init__(namespace, port)

    def serve(self, plug: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += plug.recv(1)
        plug.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self._namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as target:
            target.settimeout(_TIMEOUT_S)
            target.connect(("127.0.0.1", self._target_port))
            back = threading.Thread(target=_pass_on, args=(target, plug), daemon=True)
            back.start()
            _pass_on(plug, target)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def connect(client: Namespace, remote: str, port: int) -> socket.socket:
    """A TCP connection from a namespace."""
    plug = client.socket(socket.AF_INET6 if ":" in remote else socket.AF_INET, socket.SOCK_STREAM)
    plug.settimeout(_TIMEOUT_S)
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plug.connect((remote, port))
    return plug


def say(plug: socket.socket, size: int = 2000) -> None:
    """Sends bytes that say nothing to an Echo, and gets them back."""
    exchange(plug, bytes(size))


def exchange(plug: socket.socket, said: bytes) -> None:
    """Sends something to an Echo, and gets it back."""
    plug.sendall(said)
    left = len(said)
    while left:
        received = len(plug.recv(left))
        assert received, f"the connection was closed with {left} bytes to come"
        left -= received


def talk(client: Namespace, remote: str, size: int = 2000) -> int:
    """A whole conversation with an Echo; returns the client's port."""
    with connect(client, remote, ECHO_PORT) as plug:
        say(plug, size)
        return int(plug.getsockname()[1])


def tls_context(*protocols: str) -> ssl.SSLContext:
    """A client's, that trusts everybody; *protocols* are for ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def get(plug: socket.socket, name: str, path: str = "/1k") -> bytes:
    """What a server answers to one request, to its end."""
    plug.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while data := plug.recv(65536):
        answer += data
    return answer


def curl(client: Namespace, name: str, remote: str, url: str, *options: str) -> None:
    """Fetches a URL of *name*, which is looked up nowhere."""
    port = url.split("/")[2].partition(":")[2] or ("443" if url.startswith("https") else "80")
    literal = f"[{remote}]" if ":" in remote else remote
    client.run(
        *("curl", "-skf", "-o", "/dev/null", "--resolve", f"{name}:{port}:{literal}"),
        *("--noproxy", "*" if "--proxy" not in options else "", *options, url),
    )


def wired(network: Network, offload: bool = False, ipv6: bool = True) -> tuple[End, End]:
    """(client's end, servers' end), the servers with all their addresses."""
    near, far = network.wire(
        network.namespace("near", ipv6), network.namespace("far", ipv6), offload=offload
    )
    serve_addresses(near, far, ipv6)
    return near, far


def records(pairs: Sequence[tuple[str, str]], ttl_s: int) -> list[str]:
    """dnsmasq's options for names and their addresses."""
    return [f"--host-record={name},{where},{ttl_s}" for name, where in pairs]
