"""`pytest smoke`: the verdicts of `python -m smoke`, one test a sample.

APP, URL, TOKEN and TOLERANCE are read from the environment.
"""

from argparse import Namespace

import pytest

from smoke import arguments
from smoke.client import Client
from smoke.compare import Comparison
from smoke.fault import Fault
from smoke.suite import Suite

GIVEN = pytest.StashKey[Namespace]()
SUITE = pytest.StashKey[Suite]()


def pytest_configure(config: pytest.Config) -> None:
    """Read the environment, samples and goldens, before any test is made of them."""
    parser = arguments.parser("pytest smoke", __doc__ or "")
    arguments.add_comparing(parser)
    try:
        config.stash[GIVEN] = parser.parse_args([])
        config.stash[SUITE] = Suite(config.stash[GIVEN].app)
    except Fault as fault:
        pytest.exit(f"smoke: {fault}", returncode=fault.exit_code)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every sample."""
    if "sample" in metafunc.fixturenames:
        samples = list(metafunc.config.stash[SUITE].samples())
        metafunc.parametrize("sample", samples, ids=[each.id for each in samples])


@pytest.fixture(scope="session")
def comparisons(pytestconfig: pytest.Config) -> dict[str, Comparison]:
    """What became of each sample, by id; all are asked at once, each of them once."""
    given = pytestconfig.stash[GIVEN]
    try:
        found = arguments.find(given)
        client = Client(found.url, found.token, connections=given.threads)
        judged = pytestconfig.stash[SUITE].judge(client, given.tolerance, given.threads, "smoke")
        return {each.sample.id: each for each in judged}
    except Fault as fault:
        pytest.exit(f"smoke: {fault}", returncode=fault.exit_code)
