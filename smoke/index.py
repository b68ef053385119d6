"""What is known by id, in bounded memory: a mapping that lies on disk once it is large."""

import sqlite3
from collections.abc import Iterator

# SQLite's page cache of each, in KiB.
CACHE = 2048


class Index:
    """Texts by id, in the order in which they came; gone with the process."""

    def __init__(self) -> None:
        # Without a name, it is a private file, which is written only when the cache is full.
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.execute(f"PRAGMA cache_size = -{CACHE}")
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("CREATE TABLE kept (id TEXT UNIQUE, value TEXT)")

    def add(self, key: str, value: str) -> str | None:
        """Keep a text, unless there is one of that id, which is returned then."""
        added = self._table.execute("INSERT OR IGNORE INTO kept VALUES (?, ?)", (key, value))
        return None if added.rowcount else self.get(key)

    def get(self, key: str) -> str | None:
        """The text of an id."""
        found = self._table.execute("SELECT value FROM kept WHERE id = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def discard(self, key: str) -> None:
        """Forget an id, if it is there."""
        self._table.execute("DELETE FROM kept WHERE id = ?", (key,))

    def __iter__(self) -> Iterator[str]:
        for (key,) in self._table.execute("SELECT id FROM kept ORDER BY rowid"):
            yield str(key)

    def __len__(self) -> int:
        return int(self._table.execute("SELECT COUNT(*) FROM kept").fetchone()[0])
