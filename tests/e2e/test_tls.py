"""The front door over TLS."""
import socket
import ssl

import pytest
from kit.raw import Connection

BODY = {"types": "unexempt", "ids": ["any-1"]}


@pytest.fixture(scope="module")
def gateway(module_site):
    simulator = module_site.simulator()
    config = module_site.config(simulator)
    config.serve_tls(module_site.certificate("front"))
    config.json["limits"] = {"header_timeout_s": 1}
    return module_site.gateway(config)


def connect(gateway, **versions):
    context = ssl.create_default_context(cafile=gateway.config.front_tls.certificate)
    for name, version in versions.items():
        setattr(context, name, version)
    return context.wrap_socket(socket.create_connection(gateway.address, 10),
                               server_hostname=gateway.address[0])


def test_an_action(gateway):
    answer = gateway.post(BODY)
    assert answer.status_code == 200
    assert gateway.get(answer.headers["Location"]).status_code == 200


def test_versions(gateway):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with connect(gateway, minimum_version=version, maximum_version=version) as connection:
            assert connection.version()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(gateway):
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect(gateway, minimum_version=ssl.TLSVersion.TLSv1,
                maximum_version=ssl.TLSVersion.TLSv1_1)


def test_plaintext_to_the_tls_port(gateway):
    """Case 9: closed, and the others do not notice."""
    with Connection(gateway.address) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n")
        connection.socket.settimeout(10)
        answer = connection.socket.makefile("rb").read()
    assert b"HTTP/" not in answer
    assert gateway.post(BODY).status_code == 200


def test_a_handshake_that_never_comes(gateway):
    """Case 6: closed at the deadline for headers."""
    with Connection(gateway.address) as connection:
        connection.wait_closed(10)
    assert gateway.post(BODY).status_code == 200
