"""Fixtures. Each test, or its module, owns its processes; all are stopped, and must stop well."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from kit import TOLLGATE, Config, Gateway, Simulator  # noqa: E402
from kit.tls import Authority, Certificate  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than about five seconds")
    if not TOLLGATE.exists():
        pytest.exit(f"{TOLLGATE} is missing: build it, or set TOLLGATE_BUILD to the build's folder",
                    returncode=2)


class Site:
    """Makes simulators, configurations and gateways in one folder, and ends them."""

    def __init__(self, folder):
        self.folder = folder
        self._processes = []
        self._count = 0

    def simulator(self, **options):
        return self._keep(Simulator(**options))

    def config(self, simulator, **options):
        self._count += 1
        return Config(self.folder / f"gateway-{self._count}", simulator, **options)

    def gateway(self, config, **how):
        return self._keep(Gateway(config, **how))

    def certificate(self, name="server", subject="IP:127.0.0.1"):
        return Certificate(self.folder / "certificates", name, subject)

    def authority(self, name="clients"):
        return Authority(self.folder / "authorities", name)

    def _keep(self, process):
        self._processes.append(process)
        return process

    def close(self):
        problems = []
        for process in reversed(self._processes):
            try:
                process.stop()
            except Exception as problem:  # the others must end too
                problems.append(problem)
                if process.running():
                    process.kill()
        if problems:
            raise problems[0]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def make_site():
    """For modules that have a fixture "site" of their own: makes sites, by their folder."""
    sites = []

    def make(folder):
        sites.append(Site(folder))
        return sites[-1]
    yield make
    for site in sites:
        site.close()


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()
