"""Sessions of requests that heed nothing but the test: no proxy, no CA from the environment."""
import requests


def session(tls=None):
    """tls: the Certificate that the server must have."""
    made = requests.Session()
    made.trust_env = False
    if tls:
        made.verify = str(tls.certificate)
    return made
