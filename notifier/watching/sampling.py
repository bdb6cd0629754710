"""Few lines about many equal things: the first at once, then one each while with how many there were."""

from __future__ import annotations


class Sampled:
    """
    Decides whether the next of many equal things is worth a line.

    Anyone can make a rejected request, so the lines about them are bounded in number, and this object in memory: of more than
    `keys_max` kinds the one that was told longest ago is forgotten, and counts as new when it comes again.
    """

    __slots__ = ("_every_s", "_keys_max", "_told")

    def __init__(self, *, every_s: float = 10.0, keys_max: int = 1024) -> None:
        self._every_s = every_s
        self._keys_max = keys_max
        self._told: dict[tuple[str, ...], tuple[float, int]] = {}
        """Per key when it was last told, and how many came since. The order is that of the last telling."""

    def take(self, key: tuple[str, ...], now: float) -> int:
        """
        Count one; the answer is 0 (say nothing), or how many the line that is now due stands for.

        Args:
            key: what makes two things equal, such as channel and reason.
            now: seconds on any clock that does not go back, such as the event loop's.
        """
        told = self._told.get(key)
        if told is not None and now - told[0] < self._every_s:
            self._told[key] = (told[0], told[1] + 1)
            return 0
        self._told.pop(key, None)
        if len(self._told) >= self._keys_max:
            del self._told[next(iter(self._told))]
        self._told[key] = (now, 0)
        return 1 + (told[1] if told is not None else 0)

    def overdue(self, now: float) -> list[tuple[tuple[str, ...], int]]:
        """What was counted but not told in the last while, so that the end of a flood is told too. Call it now and then."""
        due = [(key, count) for key, (at, count) in self._told.items() if count and now - at >= self._every_s]
        for key, _ in due:
            del self._told[key]
            self._told[key] = (now, 0)
        return due
