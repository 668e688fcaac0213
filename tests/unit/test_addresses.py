"""Host names, ports and addresses as text."""

import socket

import pytest

from fastlog.addresses import (
    AddressError,
    dashboard_url,
    is_numeric,
    join_host_port,
    local_address,
    resolve,
    split_host_port,
)


def test_addresses_are_resolved():
    assert resolve("127.0.0.1", 5514) == [(socket.AF_INET, ("127.0.0.1", 5514))]
    assert resolve("::1", 5514) == [(socket.AF_INET6, ("::1", 5514, 0, 0))]


@pytest.mark.parametrize("name", ["ä" * 100, "a..b", "x" * 300])
def test_what_cannot_be_a_host_name_rejected(name):
    with pytest.raises(AddressError) as caught:
        resolve(name, 5514)
    assert str(caught.value) == f"cannot find the server {name!r}: {caught.value.reason}"


def test_only_addresses_are_numeric():
    assert [is_numeric(host) for host in ("127.0.0.1", "::1", "localhost", "a..b")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("host", "port", "text"), [("192.0.2.1", 80, "192.0.2.1:80"), ("::1", 80, "[::1]:80"), ("web", 1, "web:1")]
)
def test_host_and_port_as_text_and_back(host, port, text):
    assert join_host_port(host, port) == text
    assert split_host_port(text, 5514) == (host, port)


@pytest.mark.parametrize(
    ("text", "host"), [("web", "web"), ("[::1]", "::1"), ("::1", "::1"), ("2001:db8::7", "2001:db8::7")]
)
def test_without_a_port_it_is_the_default(text, host):
    assert split_host_port(text, 5514) == (host, 5514)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' has no host"),
        (":80", "':80' has no host"),
        ("[]:80", "'\\[\\]:80' has no host"),
        ("[::1", r"expected \[IPv6 address\]:port"),
        ("[::1]80", r"expected \[IPv6 address\]:port"),
        ("web:", "invalid port '': expected a number from 1 to 65535"),
        ("web:0", "invalid port '0'"),
        ("web:65536", "invalid port '65536'"),
        ("web:http", "invalid port 'http'"),
        ("web:\u0661", "invalid port"),
        ("[::1]:-1", "invalid port '-1'"),
    ],
)
def test_wrong_addresses_rejected(text, message):
    with pytest.raises(ValueError, match=message):
        split_host_port(text, 5514)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
    ],
)
def test_the_url_of_a_dashboard(host, url):
    assert dashboard_url(host, 8080) == url


def test_a_dashboard_that_is_off_has_no_url():
    assert dashboard_url("127.0.0.1", None) is None


def test_the_address_of_a_socket():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        assert local_address(sock) == f"[::1]:{sock.getsockname()[1]}"
