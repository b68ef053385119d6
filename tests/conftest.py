"""Apps for the tests that run the real TorchServe."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_app import TinyApp


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left alone with one."""
    items.sort(key=lambda item: item.get_closest_marker("server") is None)


def pytest_configure() -> None:
    """Be no CI to the commands under test, wherever the tests run: there, they write no goldens."""
    os.environ.pop("CI", None)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models this small gain nothing from more, and threads that spin take the others' cores."""
    import torch  # Not above: xdist's main process reads this file too, and runs no test.

    torch.set_num_threads(1)


@pytest.fixture
def tiny_app(tmp_path: Path) -> Iterator[TinyApp]:
    """An app in a folder with a space and a letter beyond ASCII; nothing of it runs afterwards."""
    app = TinyApp(tmp_path / "a b é")
    try:
        yield app
    finally:
        app.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyApp]:
    """An app that was deployed once and serves; tests that use it leave it so."""
    app = TinyApp(tmp_path_factory.mktemp("served") / "a b é")
    try:
        code, out, err = app.run("redeploy")
        assert code == 0, out + err
        yield app
    finally:
        app.close()
