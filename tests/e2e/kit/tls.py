"""Certificates for tests, made by openssl."""
import hashlib
import ssl
import subprocess


class Certificate:
    """Self-signed, for 127.0.0.1 or what else is said: it is its own CA."""

    def __init__(self, folder, name="server", subject="IP:127.0.0.1"):
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", self.key, "-out", self.certificate, "-days", "2",
             "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"],
            check=True, capture_output=True)
        self.key.chmod(0o600)


class Issued:
    """A certificate of an Authority, and its key."""

    def __init__(self, certificate, key):
        self.certificate, self.key = certificate, key

    @property
    def fingerprint(self):
        """SHA-256 of the DER."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(
            self.certificate.read_text(encoding="ascii"))).hexdigest()


class Authority:
    """Issues certificates of clients, and revokes them."""

    def __init__(self, folder, name="clients"):
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.certificate = self.folder / "ca.pem"
        self.crl_file = self.folder / "crl.pem"
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n", encoding="ascii")
        (self.folder / "crlnumber").write_text("1000\n", encoding="ascii")
        (self.folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca = d\n[d]\ndir = {self.folder}\ndatabase = $dir/index.txt\n"
            "new_certs_dir = $dir\nserial = $dir/serial\ncrlnumber = $dir/crlnumber\n"
            "certificate = $dir/ca.pem\nprivate_key = $dir/ca.key\ndefault_md = sha256\n"
            "default_days = 2\ndefault_crl_days = 2\npolicy = p\nunique_subject = no\n"
            "[p]\ncommonName = supplied\n", encoding="ascii")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-keyout", self.folder / "ca.key", "-out", self.certificate,
                      "-days", "2", "-subj", f"/CN=CA {name}")
        self.write_crl()

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def issue(self, name, san=None, usage="clientAuth", start=None, end=None):
        """san: as openssl wants it, such as URI:spiffe://corp/x. start, end: datetimes (UTC)."""
        key, request, certificate, extensions = (
            self.folder / f"{name}.{end}" for end in ("key", "csr", "pem", "ext"))
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions.write_text(f"extendedKeyUsage = {usage}\n" +
                              (f"subjectAltName = {san}\n" if san else ""), encoding="ascii")
        dates = []
        for option, moment in (("-startdate", start), ("-enddate", end)):
            if moment:
                dates += [option, moment.strftime("%y%m%d%H%M%SZ")]
        self._openssl("ca", "-batch", "-notext", "-config", self.folder / "ca.cnf", "-in", request,
                      "-out", certificate, "-extfile", extensions, *dates)
        key.chmod(0o600)
        return Issued(certificate, key)

    def revoke(self, issued):
        self._openssl("ca", "-config", self.folder / "ca.cnf", "-revoke", issued.certificate)
        self.write_crl()

    def write_crl(self, end=None):
        """The list of what was revoked; end: a datetime, when it is out of date."""
        dates = ["-crl_lastupdate", "200101000000Z", "-crl_nextupdate",
                 end.strftime("%y%m%d%H%M%SZ")] if end else []
        self._openssl("ca", "-gencrl", "-config", self.folder / "ca.cnf", "-out", self.crl_file,
                      *dates)
