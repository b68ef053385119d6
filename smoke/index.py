"""What is known by id, in bounded memory: a mapping that lies on disk once it is large."""

import sqlite3
from collections.abc import Iterator

from smoke.fault import Fault

# SQLite's page cache of each, in KiB.
CACHE = 2048


class Index:
    """Texts by id, in the order in which they came; gone with the process.

    Raises:
        Fault: by whatever is called, if there is no room for it on disk.
    """

    def __init__(self) -> None:
        # Without a name, it is a private file, which is written only when the cache is full.
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.execute(f"PRAGMA cache_size = -{CACHE}")
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("CREATE TABLE kept (id TEXT UNIQUE, value TEXT)")

    def add(self, key: str, value: str) -> str | None:
        """Keep a text, unless there is one of that id, which is returned then."""
        added = self._do("INSERT OR IGNORE INTO kept VALUES (?, ?)", (key, value))
        return None if added.rowcount else self.get(key)

    def get(self, key: str) -> str | None:
        """The text of an id."""
        found = self._do("SELECT value FROM kept WHERE id = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def discard(self, key: str) -> None:
        """Forget an id, if it is there."""
        self._do("DELETE FROM kept WHERE id = ?", (key,))

    def __iter__(self) -> Iterator[str]:
        for (key,) in self._do("SELECT id FROM kept ORDER BY rowid"):
            yield str(key)

    def __contains__(self, key: object) -> bool:
        return self.get(str(key)) is not None

    def __len__(self) -> int:
        return int(self._do("SELECT COUNT(*) FROM kept").fetchone()[0])

    def _do(self, statement: str, values: tuple[str, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._table.execute(statement, values)
        except sqlite3.Error as error:
            raise Fault(
                f"the index of what was read, in SQLite's temporary folder: {error}",
                "free that place, or name another with SQLITE_TMPDIR=",
            ) from error
