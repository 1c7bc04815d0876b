"""One reading of the broker's URL for redis-py, Celery and Flower, which each read another dialect.

| what | redis-py 8 | kombu 5.7 |
|---|---|---|
| a Unix socket | `unix:///path?db=4` | `redis+socket:///path?virtual_host=4` |
| a database | path or `?db=` | path; `?db=` is a `TypeError` in the worker |
| TLS | checks certificates by default | refuses a URL without `ssl_cert_reqs` |
| `/`, `#`, `?` or `@` in a password | percent-encoded | percent-encoded |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ..errors import InvalidJob

_FORMS = "redis://[user:password@]host[:port][/database], rediss://… for TLS, or unix:///path/to/socket[?db=N]"
_SOCKETS = ("unix", "redis+socket")
_SSL_OPTIONS = frozenset({"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})
_CERT_REQS = {name: name for name in ("none", "optional", "required")}
_CERT_REQS |= {f"CERT_{name.upper()}": name for name in ("none", "optional", "required")}


@dataclass(frozen=True)
class BrokerUrl:
    """The parts of a broker's URL."""

    tls: bool = False
    host: str = "localhost"
    port: int = 6379
    #: The path of a Unix socket; empty for TCP.
    socket: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    #: redis-py's options of TLS, such as `ssl_ca_certs`.
    ssl: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL of redis-py or kombu. Raises `InvalidJob`, without the password, if it has another form."""
        scheme, separator, rest = text.strip().partition("://")
        if not separator or scheme not in ("redis", "rediss", *_SOCKETS):
            raise InvalidJob(f"MASKQ_BROKER_URL: begins with {scheme[:20]!r}; it has to be {_FORMS}")
        login, _, address = rest.rpartition("@")  # a password may hold any reserved character, unquoted
        username, _, password = login.partition(":")
        parts = urlsplit(f"//{address}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            database = _database(options, "" if scheme in _SOCKETS else parts.path)
            where = {"socket": _socket(parts.path)} if scheme in _SOCKETS else _tcp(parts.hostname, parts.port)
        except ValueError as error:
            raise InvalidJob(f"MASKQ_BROKER_URL: {error}; it has to be {_FORMS}") from error
        return cls(
            tls=scheme == "rediss",
            username=unquote(username),
            password=unquote(password),
            database=database,
            ssl=tuple(_ssl_options(options, scheme).items()),
            **where,
        )

    @property
    def for_redis(self) -> str:
        """The URL in redis-py's dialect."""
        if self.socket:
            return f"unix://{self._login}{quote(self.socket)}?db={self.database}"
        options = "&".join(f"{name}={quote(str(value), safe='/')}" for name, value in self.ssl)
        return self._tcp_url + (f"?{options}" if options else "")

    @property
    def for_celery(self) -> tuple[str, dict[str, Any]]:
        """The URL in kombu's dialect, and the Celery settings that go with it."""
        if self.socket:
            return f"redis+socket://{self._login}{quote(self.socket)}?virtual_host={self.database}", {}
        if not self.tls:
            return self._tcp_url, {}
        return self._tcp_url, {"broker_use_ssl": {"ssl_cert_reqs": "required"} | dict(self.ssl)}

    @property
    def _login(self) -> str:
        if not (self.username or self.password):
            return ""
        return f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@"

    @property
    def _tcp_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{self._login}{host}:{self.port}/{self.database}"


def _database(options: dict[str, str], path: str) -> int:
    """The database's number from `db` or `virtual_host`, which are removed from the options, or from the path."""
    given = {options.pop(name) for name in ("db", "virtual_host") if name in options} | ({path.strip("/")} - {""})
    if len(given) > 1:
        raise ValueError(f"it names several databases: {', '.join(sorted(given))}")
    text = given.pop() if given else "0"
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"the database {text[:20]!r} is not a number")
    return int(text)


def _socket(path: str) -> str:
    if len(path) < 2:
        raise ValueError("it has no path to a socket")
    return unquote(path)


def _tcp(host: str | None, port: int | None) -> dict[str, Any]:
    return {"host": unquote(host or "localhost"), "port": port or 6379}


def _ssl_options(options: dict[str, str], scheme: str) -> dict[str, Any]:
    """The TLS options as redis-py names them. Raises `InvalidJob` for any other option."""
    known = _SSL_OPTIONS if scheme == "rediss" else frozenset()
    if unknown := sorted(options.keys() - known):
        raise InvalidJob(
            f"MASKQ_BROKER_URL: unknown option {unknown[0][:40]!r}; remove it (maskq sets timeouts and retries). "
            f"There are db and, with rediss://, {', '.join(sorted(_SSL_OPTIONS))}"
        )
    ssl: dict[str, Any] = dict(options)
    if "ssl_cert_reqs" in ssl:
        if ssl["ssl_cert_reqs"] not in _CERT_REQS:
            raise InvalidJob("MASKQ_BROKER_URL: ssl_cert_reqs is none, optional or required")
        ssl["ssl_cert_reqs"] = _CERT_REQS[ssl["ssl_cert_reqs"]]
    if "ssl_check_hostname" in ssl:
        ssl["ssl_check_hostname"] = ssl["ssl_check_hostname"].lower() not in ("false", "0", "no")
    return ssl
