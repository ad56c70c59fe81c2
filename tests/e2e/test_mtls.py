"""Client certificates, and what TLS there is. Case 9."""
import datetime
import re
import socket
import ssl
import subprocess

import pytest
import requests
from kit.checks import assert_problem
from kit.http import new_source, session
from kit.waiting import wait_for

BODY = {"types": "unexempt", "ids": ["any-1"]}
URI = "spiffe://corp/inventory"


def days(count):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=count)


class Site:
    """A gateway that wants client certificates, and certificates of many kinds."""

    def __init__(self, site, mode=None, crl=False):
        self.authority = site.authority("clients")
        self.foreign = site.authority("foreign")
        issue = self.authority.issue
        self.certificates = {
            "inventory": issue("inventory", f"URI:{URI}"),
            "mailer": issue("mailer", "email:mailer@corp.example"),
            "box": issue("box", "DNS:other.example,DNS:box.corp.example"),
            "pinned": issue("pinned"),
            "unknown": issue("unknown", "DNS:nobody.corp.example"),
            "only the type differs": issue("dns", f"DNS:{URI}"),
            "longer": issue("longer", f"URI:{URI}/more"),
            "two clients": issue("two", f"URI:{URI},DNS:box.corp.example"),
            "foreign": self.foreign.issue("foreign", f"URI:{URI}"),
            "expired": issue("expired", f"URI:{URI}", start=days(-2), end=days(-1)),
            "not yet": issue("later", f"URI:{URI}", start=days(1), end=days(2)),
            "of a server": issue("server", f"URI:{URI}", usage="serverAuth"),
        }
        self.simulator = site.simulator()
        self.config = site.config(self.simulator)
        self.config.serve_tls(site.certificate("front"))
        self.tls = self.config.json["listen"][0]["tls"]
        self.tls["client_ca"] = str(self.authority.certificate)
        if mode:
            self.tls["client_certificate"] = mode
        if crl:
            self.tls["crl_file"] = str(self.authority.crl_file)
        for name, how in (("inventory", {"san": URI}), ("mailer", {"san": "mailer@corp.example"}),
                          ("box", {"san": "box.corp.example"}),
                          ("pinned", {"fingerprint": self.certificates["pinned"].fingerprint})):
            self.config.json["clients"][name] = {"team": "ops", "certificate": how}
        self.gateway = site.gateway(self.config)

    def post(self, certificate=None, client=None, **how):
        return self.gateway.post(BODY, client=client, certificate=self.certificates.get(certificate),
                                 source=new_source(), **how)


@pytest.fixture(scope="module")
def site(module_site):
    return Site(module_site)


@pytest.fixture(scope="module")
def optional(tmp_path_factory, module_site):
    module_site.folder = tmp_path_factory.mktemp("optional")
    return Site(module_site, "optional")


@pytest.fixture
def untouched(site):
    site.simulator.forget_calls()
    yield
    assert site.simulator.calls() == []


def handshake(site, certificate=None, version=ssl.TLSVersion.TLSv1_3):
    """Connects and asks for something; what came of it, b"" if nothing."""
    context = ssl.create_default_context(cafile=site.config.front_tls.certificate)
    context.minimum_version = context.maximum_version = version
    if certificate:
        issued = site.certificates[certificate]
        context.load_cert_chain(issued.certificate, issued.key)
    with context.wrap_socket(socket.create_connection(site.gateway.address, 10),
                             server_hostname="127.0.0.1") as connection:
        connection.sendall(b"GET /v1/budget HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")
        return connection.recv(65536)


# ---- Who it is ----

@pytest.mark.parametrize("name", ["inventory", "mailer", "box", "pinned"])
def test_a_client_is_known_by_its_certificate(site, name):
    answer = site.post(name)
    assert answer.status_code == 200
    record, = site.gateway.audit_of(event="action.accepted",
                                    request_id=answer.headers["X-Request-ID"])
    assert record["client"] == name
    assert record["team"] == "ops"
    assert record["key_id"] == "cert:" + site.certificates[name].fingerprint


@pytest.mark.parametrize("name", ["unknown", "only the type differs", "longer", "two clients"])
def test_a_good_certificate_of_nobody(site, untouched, name):
    """It verifies, so the connection stands; it is as good as no key."""
    answer = site.post(name)
    problem = assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    record, = site.gateway.wait_audit(event="request.unauthenticated",
                                      request_id=problem["request_id"])
    assert "client" not in record


@pytest.mark.parametrize("certificate", ["inventory", "unknown"])
def test_a_key_that_is_sent_decides(site, certificate):
    answer = site.post(certificate, client="script")
    assert answer.status_code == 200
    record, = site.gateway.audit_of(event="action.accepted",
                                    request_id=answer.headers["X-Request-ID"])
    assert record["client"] == "script"
    key = site.config.json["clients"]["script"]["keys"][0]
    assert record["key_id"] == key["id"]


@pytest.mark.parametrize("value", ["Bearer wrong", "", "Basic x"])
def test_a_bad_key_is_not_made_good_by_a_certificate(site, untouched, value):
    assert_problem(site.post("inventory", headers={"Authorization": value}), 401,
                   "unauthenticated")


# ---- Handshakes that fail ----

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [None, "foreign", "expired", "not yet", "of a server"])
def test_no_handshake(site, untouched, name, version):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        answer = handshake(site, name, version)
        assert answer == b"", "it answered"
        raise ConnectionError("closed without a word")
    assert handshake(site, "inventory", version).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("name", [None, "foreign", "expired"])
def test_a_key_does_not_make_up_for_a_certificate(site, untouched, name):
    with pytest.raises(requests.ConnectionError):
        site.post(name, client="script")


def test_refused_certificates_are_counted(site):
    metric = "tollgate_client_certificates_refused_total"
    before = site.gateway.metric(metric, reason="certificate has expired")
    with pytest.raises(requests.ConnectionError):
        site.post("expired")
    wait_for("it to be counted", lambda: site.gateway.metric(
        metric, reason="certificate has expired") == before + 1)
    assert site.gateway.logged("a client certificate was refused")


# ---- Optional ----

def test_optional_a_key_or_a_certificate(optional):
    assert optional.post(client="script").status_code == 200
    assert optional.post("inventory").status_code == 200
    assert_problem(optional.post(), 401, "unauthenticated")


@pytest.mark.parametrize("name", ["foreign", "expired", "not yet", "of a server"])
def test_optional_a_certificate_that_is_shown_must_verify(optional, name):
    with pytest.raises(requests.ConnectionError):
        optional.post(name, client="script")


# ---- Revoking ----

@pytest.fixture
def processes(tmp_path, make_site):
    return make_site(tmp_path)


@pytest.fixture
def site_of_its_own(processes):
    return Site(processes, crl=True)


def test_revoked(site_of_its_own):
    """On a new connection and on one that lives."""
    gateway = site_of_its_own.gateway
    certificates = site_of_its_own.certificates
    with session(site_of_its_own.config.front_tls, certificate=certificates["inventory"]) as one:
        ask = lambda: one.get(gateway.url + "/v1/budget")
        assert ask().status_code == 200
        site_of_its_own.authority.revoke(certificates["inventory"])
        gateway.reload()
        assert_problem(ask(), 401, "unauthenticated")
    with pytest.raises(requests.ConnectionError):
        site_of_its_own.post("inventory")
    assert site_of_its_own.post("box").status_code == 200


def test_a_list_that_is_out_of_date(site_of_its_own):
    """Whoever cannot know what is revoked trusts nobody."""
    gateway = site_of_its_own.gateway
    with session(site_of_its_own.config.front_tls,
                 certificate=site_of_its_own.certificates["box"]) as one:
        assert one.get(gateway.url + "/v1/budget").status_code == 200
        site_of_its_own.authority.write_crl(end=days(-1))
        gateway.reload()
        assert gateway.logged("the configuration may not be what is meant")
        assert one.get(gateway.url + "/v1/budget").status_code == 401
    with pytest.raises(requests.ConnectionError):
        site_of_its_own.post("box")
    site_of_its_own.authority.write_crl()
    gateway.reload()
    assert site_of_its_own.post("box").status_code == 200


def test_another_ca_by_reload(site_of_its_own):
    gateway = site_of_its_own.gateway
    site_of_its_own.tls["client_ca"] = str(site_of_its_own.foreign.certificate)
    del site_of_its_own.tls["crl_file"]
    with session(site_of_its_own.config.front_tls,
                 certificate=site_of_its_own.certificates["inventory"]) as one:
        assert one.get(gateway.url + "/v1/budget").status_code == 200
        gateway.reload()
        assert one.get(gateway.url + "/v1/budget").status_code == 401
    assert site_of_its_own.post("foreign").status_code == 200
    with pytest.raises(requests.ConnectionError):
        site_of_its_own.post("inventory")


def test_a_client_that_is_no_more(site_of_its_own):
    gateway = site_of_its_own.gateway
    with session(site_of_its_own.config.front_tls,
                 certificate=site_of_its_own.certificates["inventory"]) as one:
        assert one.get(gateway.url + "/v1/budget").status_code == 200
        del site_of_its_own.config.json["clients"]["inventory"]
        gateway.reload()
        assert_problem(one.get(gateway.url + "/v1/budget"), 401, "unauthenticated")


@pytest.mark.slow
def test_a_certificate_that_expires_on_a_live_connection(site_of_its_own):
    """It is looked at again after ten seconds at the latest."""
    gateway = site_of_its_own.gateway
    soon = site_of_its_own.authority.issue(
        "soon", f"URI:{URI}", start=days(-1),
        end=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3))
    with session(site_of_its_own.config.front_tls, certificate=soon) as one:
        assert one.get(gateway.url + "/v1/budget").status_code == 200
        wait_for("401", lambda: one.get(gateway.url + "/v1/budget").status_code == 401, 20)


# ---- What TLS there is ----

def s_client(site, *arguments, text=""):
    issued = site.certificates["inventory"]
    return subprocess.run(
        ["openssl", "s_client", "-connect", site.gateway.addresses[0], "-cert", issued.certificate,
         "-key", issued.key, *arguments], input=text, text=True, capture_output=True, timeout=30,
        check=False)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(site, version):
    run = s_client(site, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "Cipher is (NONE)" in run.stdout, run.stdout


@pytest.mark.parametrize("cipher", [
    "AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-ECDSA-CAMELLIA128-SHA256", "ECDHE-ECDSA-AES128-CCM8", "ECDHE-ECDSA-NULL-SHA",
    "AECDH-AES128-SHA", "PSK-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_weak_ciphers_are_refused(site, cipher):
    run = s_client(site, "-tls1_2", "-cipher", cipher + ":@SECLEVEL=0", "-psk", "00ff")
    assert "Cipher is (NONE)" in run.stdout, run.stdout


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                                    "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_good_ciphers_are_taken(site, cipher):
    run = s_client(site, "-tls1_2", "-cipher", cipher)
    assert re.search(f"Cipher is {cipher}", run.stdout), run.stdout
    assert "Compression: NONE" in run.stdout


def test_renegotiation_is_refused(site):
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", site.gateway.addresses[0], "-tls1_2", "-cert",
         site.certificates["inventory"].certificate, "-key", site.certificates["inventory"].key],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process.stdin.write("R\n")
    process.stdin.flush()
    # it ends by itself when the renegotiation is refused
    output, _ = process.communicate(timeout=30)
    assert "RENEGOTIATING" in output
    assert "no renegotiation" in output, output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_no_session_is_resumed(site, tmp_path, version):
    """A session would outlive what its certificate was checked against."""
    kept = tmp_path / "session"
    text = "GET /v1/budget HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
    first = s_client(site, version, "-ign_eof", "-sess_out", kept, text=text)
    assert "200 OK" in first.stdout
    assert "TLS session ticket:" not in first.stdout
    if kept.exists():
        again = s_client(site, version, "-ign_eof", "-sess_in", kept, text=text)
        assert "Reused, " not in again.stdout
        assert "New, " in again.stdout


def test_plaintext_is_closed_without_a_word(site):
    with socket.create_connection(site.gateway.address, 10) as connection:
        connection.sendall(b"GET /v1/budget HTTP/1.1\r\nHost: gw\r\n\r\n")
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    assert b"HTTP" not in answer
    assert len(answer) <= 7, "an alert at most"
