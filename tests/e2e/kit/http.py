"""Sessions of requests that heed nothing but the test: no proxy, no CA from the environment."""
import itertools

import requests
from requests.adapters import HTTPAdapter

_sources = itertools.count(2)


def new_source():
    """A loopback address that no test of this process sent from, as if from another client."""
    number = next(_sources)
    return f"127.0.{number // 250}.{number % 250 + 1}"


class _From(HTTPAdapter):
    def __init__(self, source):
        self._source = source
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=(self._source, 0), **kwargs)


def session(tls=None, source=None, certificate=None):
    """tls: the Certificate that the server must have. source: the address to send from.
    certificate: the client's own, with its .certificate and .key."""
    made = requests.Session()
    made.trust_env = False
    if source:
        made.mount("http://", _From(source))
        made.mount("https://", _From(source))
    if tls:
        made.verify = str(tls.certificate)
    if certificate:
        made.cert = (str(certificate.certificate), str(certificate.key))
    return made
