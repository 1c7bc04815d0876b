"""One reading of the broker's URL for redis-py and kombu."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.connection import Connection
from redis import ConnectionPool

from maskq import InvalidJob
from maskq.producer.state.broker_url import BrokerUrl


def seen_by_redis(url: BrokerUrl) -> dict[str, object]:
    arguments = ConnectionPool.from_url(url.for_redis).connection_kwargs
    return {name: arguments.get(name) for name in ("host", "port", "path", "db", "username", "password")}


def seen_by_kombu(url: BrokerUrl) -> dict[str, object]:
    address, settings = url.for_celery
    connect: Any = Connection
    with connect(address, ssl=settings.get("broker_use_ssl")) as connection:
        arguments = connection.transport.Channel._connparams(_Channel(connection))
    return {name: arguments.get(name) for name in ("host", "port", "path", "db", "username", "password")}


class _Channel:
    """What kombu's `Channel._connparams` reads of a channel, without opening a connection."""

    def __init__(self, connection: Connection) -> None:
        from kombu.transport.redis import Channel

        self.connection = type("C", (), {"client": connection, "default_port": 6379})()
        self._connection = connection
        self._channel = Channel

    def __getattr__(self, name: str) -> object:
        attribute = getattr(self._channel, name)
        return attribute.__get__(self) if callable(attribute) and not isinstance(attribute, type) else attribute


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://box", BrokerUrl(host="box")),
        ("redis://box:7000/3", BrokerUrl(host="box", port=7000, database=3)),
        ("redis://box?db=4", BrokerUrl(host="box", database=4)),
        ("redis://[::1]:7000/3", BrokerUrl(host="::1", port=7000, database=3)),
        ("redis://:p%40ss@box/0", BrokerUrl(host="box", password="p@ss")),
        ("redis://:p@ss#1/?x@box/0", BrokerUrl(host="box", password="p@ss#1/?x")),
        ("redis://me:secret@box", BrokerUrl(host="box", username="me", password="secret")),
        ("unix:///run/r.sock?db=2", BrokerUrl(socket="/run/r.sock", database=2)),
        ("redis+socket:///run/r.sock?virtual_host=2", BrokerUrl(socket="/run/r.sock", database=2)),
        ("unix://me:secret@/run/r.sock", BrokerUrl(socket="/run/r.sock", username="me", password="secret")),
        ("rediss://box", BrokerUrl(tls=True, host="box")),
        ("rediss://box?ssl_cert_reqs=CERT_NONE", BrokerUrl(tls=True, host="box", ssl=(("ssl_cert_reqs", "none"),))),
    ],
)
def test_both_dialects_are_read(text: str, expected: BrokerUrl) -> None:
    assert BrokerUrl.parse(text) == expected
    assert BrokerUrl.parse(expected.for_redis) == expected
    assert BrokerUrl.parse(expected.for_celery[0]).database == expected.database


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("amqp://box", "begins with 'amqp'"),
        ("box:6379", "begins with 'box:6379'"),
        ("redis://box/jobs", "'jobs' is not a number"),
        ("redis://box/1?db=2", "several databases: 1, 2"),
        ("redis://box:port/1", "it has to be redis://"),
        ("redis://box?socket_timeout=30", "unknown option 'socket_timeout'"),
        ("redis://box?ssl_cert_reqs=none", "unknown option 'ssl_cert_reqs'"),
        ("rediss://box?ssl_cert_reqs=perhaps", "none, optional or required"),
        ("unix://", "no path to a socket"),
    ],
)
def test_what_can_not_work_is_refused_with_the_reason_and_without_the_password(text: str, reason: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        BrokerUrl.parse(text.replace("://", "://:hunter2@"))
    assert reason in str(refused.value) and "hunter2" not in str(refused.value)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)


@given(texts, texts, st.integers(0, 15), st.sampled_from(["", "/run/a b.sock"]))
def test_redis_py_and_kombu_see_the_same_login_and_database(
    username: str, password: str, database: int, socket: str
) -> None:
    url = BrokerUrl(host="box", username=username, password=password, database=database, socket=socket)
    by_redis, by_kombu = seen_by_redis(url), seen_by_kombu(url)
    assert (by_redis["username"] or "", by_redis["password"] or "") == (username, password)
    assert {name: value or None for name, value in by_kombu.items()} == {
        name: value or None for name, value in by_redis.items()
    }


@given(texts.filter(lambda password: "%" not in password))
def test_a_password_may_hold_reserved_characters_quoted_or_not(password: str) -> None:
    assert BrokerUrl.parse(f"redis://:{password}@box/1").password == password
    assert BrokerUrl.parse(f"redis://:{quote(password, safe='')}@box/1").password == password


def test_tls_checks_certificates_by_default() -> None:
    assert BrokerUrl.parse("rediss://box").for_celery[1] == {"broker_use_ssl": {"ssl_cert_reqs": "required"}}
    assert (
        BrokerUrl.parse("rediss://box?ssl_ca_certs=/ca.pem").for_celery[1]["broker_use_ssl"]["ssl_ca_certs"]
        == "/ca.pem"
    )
