"""The app that is looked at, with what several checks want to know of it."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from loop import contents, server
from loop.package import Contents
from loop.settings import Settings


@dataclass
class Subject:
    """An app to look at.

    Attributes:
        app: its settings; with no key in them where config.properties cannot be read.
        locked: whether we hold its lock ourselves.
    """

    app: Settings
    locked: bool = False

    @cached_property
    def server(self) -> psutil.Process | None:
        """The app's running JVM."""
        return server.find(self.app)

    @cached_property
    def holder(self) -> str | None:
        """Which other command holds the app's lock; what it has begun must not pass for wreckage.

        To ask the lock takes it for a moment, shared, which a command that wants it waits for.
        """
        if self.locked:
            return None
        try:
            descriptor = os.open(self.app.run / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(descriptor, 200, 0).decode(errors="replace") or "another command"
        else:
            return None
        finally:
            os.close(descriptor)

    @cached_property
    def packed(self) -> Contents:
        """What would be packed from the tree. Raises what `package.contents` raises."""
        with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
            with suppress(FileNotFoundError):
                shutil.copy(self.app.run / "hashes.json", folder)
            elsewhere = _Elsewhere(self.app.app, self.app.properties, self.app.lines, Path(folder))
            return contents.of(elsewhere)

    @cached_property
    def weight(self) -> int:
        """The size of all that is packed, in bytes. Raises what `package.contents` raises."""
        return sum(each.stat().st_size for each in self.packed.files)


@dataclass(frozen=True)
class _Elsewhere(Settings):
    """The same app with another run folder: `package` keeps hashes there, and we leave no trace."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder
