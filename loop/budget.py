"""Where the time of a deploy goes, as its last line tells it."""

import time


class Budget:
    """A stopwatch with named laps, running from the moment it is made."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._laps: list[tuple[str, float]] = []

    def spent(self, on: str) -> float:
        """Book the seconds since the last call on a name, and return them."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self._laps.append((on, seconds))
        return seconds

    def __str__(self) -> str:
        laps = [f"{name} {1000 * seconds:.0f} ms" for name, seconds in self._laps]
        return " · ".join([*laps, f"total {self._last - self._began:.2f} s"])
