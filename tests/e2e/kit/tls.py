"""Certificates for tests, made by openssl."""
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
