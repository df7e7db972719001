"""`--web.config.file`: TLS, users and headers, in the format that Prometheus' exporters share.

Source: prometheus/exporter-toolkit, docs/web-configuration.md. Paths in it are relative to its own
folder. What Python's TLS cannot do is refused, never ignored: a certificate that is asked for and
not verified (RequestClientCert, RequireAnyClientCert), and curve_preferences.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from exporter import values
from exporter.given import ConfigError
from exporter.values import quoted
from exporter.yaml_file import is_null, line_of, read_mapping, scalar, scalars

NO_CLIENT = "NoClientCert"
IF_GIVEN = "VerifyClientCertIfGiven"
REQUIRED = "RequireAndVerifyClientCert"

SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""OpenSSL's names of the suites of TLS 1.2 that are safe. Those of 1.3 are always offered."""
SUITES_1_3 = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)

HEADERS = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)

BCRYPT_COST_MAX = 15
"""A check of it takes 2 s, and each further step twice as long."""

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server proves itself, and what it wants of clients."""

    certificate: Path
    key: Path
    client_ca: Path | None
    client_auth: str
    """NO_CLIENT, IF_GIVEN or REQUIRED."""
    client_sans: tuple[str, ...]
    """A client's certificate must have one of these names; empty: any."""
    min_version: str
    """TLS12 or TLS13, as max_version."""
    max_version: str
    suites: tuple[str, ...]
    """Of TLS 1.2, by OpenSSL's names; empty: its own choice."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that have to be read."""
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the file says."""

    tls: Tls | None = None
    users: tuple[tuple[str, bytes], ...] = ()
    """Names and bcrypt hashes; empty: nobody is asked for a password."""
    headers: tuple[tuple[str, str], ...] = ()
    """Added to each answer."""


def read(path: Path) -> WebSettings:
    """Reads the file. Raises ConfigError with a line for each problem."""
    section = _Section(str(path), read_mapping(str(path)), "", [])
    tls = section.below("tls_server_config")
    http = section.below("http_server_config")
    users = section.below("basic_auth_users")
    settings = WebSettings(
        tls=None if tls is None else _tls(tls, path.parent),
        users=() if users is None else _users(users),
        headers=() if http is None else _http(http),
    )
    section.close()
    if section.problems:
        raise ConfigError("\n".join(section.problems))
    return settings


class _Section:
    """One mapping of the file, whose keys are taken one by one; what is left is unknown."""

    def __init__(
        self, path: str, mapping: yaml.MappingNode | None, key: str, problems: list[str]
    ) -> None:
        self.where = f"{path}:{line_of(mapping) if mapping else 1}: {key}"
        self.problems = problems
        self._path = path
        self._prefix = f"{key}." if key else ""
        self._known: list[str] = []
        self._nodes: dict[str, tuple[str, yaml.Node]] = {}
        for key_node, value in mapping.value if mapping else ():
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
            where = f"{path}:{line_of(key_node)}: {quoted(self._prefix + name)[1:-1]}"
            if not name:
                problems.append(f"{where}: a key must be a word")
            elif name in self._nodes:
                problems.append(f"{where}: is given twice")
            else:
                self._nodes[name] = (where, value)

    def names(self) -> list[str]:
        """The keys that are not taken yet."""
        return list(self._nodes)

    def below(self, name: str) -> _Section | None:
        """The mapping of a key; None where there is none."""
        self._known.append(name)
        where, node = self._nodes.pop(name, ("", None))
        if node is None or is_null(node):
            return None
        if not isinstance(node, yaml.MappingNode):
            self.problems.append(f"{where}: must be a mapping")
            return None
        return _Section(self._path, node, self._prefix + name, self.problems)

    def take(self, name: str, parse: values.Parser = str) -> object:
        """The value of a key, None where there is none or it is wrong."""
        return self._take(name, lambda node, where: parse(scalar(node, where)))

    def take_all(self, name: str, parse: values.Parser = str) -> tuple[object, ...]:
        """The values of a list."""
        found = self._take(
            name, lambda node, where: tuple(parse(text) for text in scalars(node, where))
        )
        return found if isinstance(found, tuple) else ()

    def _take(self, name: str, understand: Callable[[yaml.Node, str], object]) -> object:
        self._known.append(name)
        where, node = self._nodes.pop(name, ("", None))
        if node is None or is_null(node):
            return None
        try:
            return understand(node, where)
        except ConfigError as problem:
            self.problems.append(str(problem))
        except ValueError as wrong:
            self.problems.append(f"{where}: {wrong}")
        return None

    def close(self) -> None:
        """No further key is known."""
        for where, _ in self._nodes.values():
            self.problems.append(
                f"{where}: is no key that this exporter knows; there are {', '.join(self._known)}"
            )


def _tls(section: _Section, folder: Path) -> Tls | None:
    def path(text: str) -> Path:
        return folder / values.file_path(text)

    certificate, key = section.take("cert_file", path), section.take("key_file", path)
    client_ca = section.take("client_ca_file", path)
    auth = section.take("client_auth_type", values.choice(NO_CLIENT, IF_GIVEN, REQUIRED))
    sans = section.take_all("client_allowed_sans")
    versions = values.choice("TLS12", "TLS13")
    low, high = section.take("min_version", versions), section.take("max_version", versions)
    suites = section.take_all("cipher_suites", values.choice(*SUITES, *SUITES_1_3))
    section.take("prefer_server_cipher_suites", values.switch)  # Go ignores it, too
    section.close()

    if section.problems:
        return None
    wrong = None
    if certificate is None or key is None:
        wrong = "needs both cert_file and key_file"
    elif (client_ca is None) != (auth in (None, NO_CLIENT)):
        wrong = f"client_ca_file and a client_auth_type ({IF_GIVEN} or {REQUIRED}) need each other"
    elif sans and client_ca is None:
        wrong = "client_allowed_sans needs client_ca_file"
    elif (low, high) == ("TLS13", "TLS12"):
        wrong = "max_version must not be below min_version"
    elif suites and not set(suites) & set(SUITES) and high == "TLS12":
        wrong = "cipher_suites has none of TLS 1.2, and max_version is TLS12"
    if wrong is not None:
        section.problems.append(f"{section.where}: {wrong}")
        return None
    assert isinstance(certificate, Path)
    assert isinstance(key, Path)
    return Tls(
        certificate,
        key,
        client_ca if isinstance(client_ca, Path) else None,
        str(auth or NO_CLIENT),
        tuple(map(str, sans)),
        str(low or "TLS12"),
        str(high or "TLS13"),
        tuple(SUITES[name] for name in map(str, suites) if name in SUITES),
    )


def _users(section: _Section) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (name, found)
        for name in section.names()
        if isinstance(found := section.take(name, _bcrypt_hash), bytes)
    )


def _bcrypt_hash(text: str) -> bytes:
    hashed = _BCRYPT.fullmatch(text)
    if hashed is None:  # not shown: it may be a password
        raise ValueError('must be a bcrypt hash, such as `htpasswd -nbB "" PASSWORD` makes')
    if not 4 <= int(hashed[1]) <= BCRYPT_COST_MAX:
        raise ValueError(f"must be a bcrypt hash of cost 4 to {BCRYPT_COST_MAX}, not {hashed[1]}")
    return text.encode()


def _http(section: _Section) -> tuple[tuple[str, str], ...]:
    section.take("http2", values.switch)  # HTTP/1.1 is what is spoken, whatever it says
    headers = section.below("headers")
    section.close()
    if headers is None:
        return ()
    found = tuple(
        (name, text)
        for name in HEADERS
        if isinstance(text := headers.take(name, _header_value), str)
    )
    headers.close()
    return found


def _header_value(text: str) -> str:
    if not re.fullmatch(r"[ -~]+", text):
        raise ValueError("must be one line of ASCII")
    return text
