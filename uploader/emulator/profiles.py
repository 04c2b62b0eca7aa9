"""The visitor profiles that the emulated edge knows.

Assumption: profiles under a third-party id and under a pcId are two worlds; the
emulator doesn't join them as a login would. Profiles never expire here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .layers import Attribute, Source, attributes, with_row, with_update, with_visit

THIRD_PARTY_ID = "thirdPartyId"
PC_ID = "pcId"
ID_TYPES = (THIRD_PARTY_ID, PC_ID)
SHELVES = 64  # ours: one dict of millions blocks for 0.2 s whenever it grows

Shelves = tuple[dict[str, bytes], ...]
"""Encoded profiles by id, each on the shelf that its id's hash names."""


class ProfileStore:
    """Profiles by id type and id; text is decoded only when it is asked for."""

    def __init__(self, *, keep: bool) -> None:
        """With *keep* false, ids that are known stay known, and nothing else is stored."""
        self.keep = keep
        self.sources: list[Source] = []
        self._shelves: dict[str, Shelves] = {
            id_type: tuple({} for _ in range(SHELVES)) for id_type in ID_TYPES
        }

    def add_known(self, id_type: str, ids: Iterable[str]) -> None:
        """Make profiles without attributes for *ids*; existing ones stay as they are."""
        for identity in ids:
            self._shelf(id_type, identity).setdefault(identity, b"")

    def add_source(self, source: Source) -> int:
        """Register a batch whose rows will follow; the number is for :meth:`apply_row`."""
        self.sources.append(source)
        return len(self.sources) - 1

    def shelves(self, id_type: str) -> Shelves:
        """The encoded profiles under *id_type*: the batch loop works on them directly."""
        return self._shelves[id_type]

    def _shelf(self, id_type: str, identity: str) -> dict[str, bytes]:
        return self._shelves[id_type][hash(identity) % SHELVES]

    def update(self, id_type: str, identity: str, pairs: bytes, now: float) -> bool:
        """Apply a single update; False for an unknown profile, which is not created."""
        profiles = self._shelf(id_type, identity)
        profile = profiles.get(identity)
        if profile is None:
            return False
        if pairs and self.keep:
            profiles[identity] = with_update(profile, pairs, int(now * 1000), self.sources)
        return True

    def row_on(self, profile: bytes, number: int, values: bytes) -> bytes:
        """What *profile* becomes with a row of source *number* on top."""
        return with_row(profile, number, values, self.sources)

    def visit(self, id_type: str, ids: Iterable[str]) -> int:
        """Let these visitors come by; returns how many of them are known."""
        visited = 0
        for identity in ids:
            profiles = self._shelf(id_type, identity)
            profile = profiles.get(identity)
            if profile is not None:
                profiles[identity] = with_visit(profile)
                visited += 1
        return visited

    def fetch(self, id_type: str, identity: str) -> dict[str, Attribute] | None:
        """Decoded attributes of one profile, or None for an unknown one."""
        profile = self._shelf(id_type, identity).get(identity)
        return None if profile is None else attributes(profile, self.sources)

    def counts(self) -> dict[str, int]:
        """Number of profiles by id type."""
        return {id_type: sum(map(len, shelves)) for id_type, shelves in self._shelves.items()}

    def dump(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Every profile as (id type, id, decoded attributes), in no order.

        Updates may come in between two items; each profile is whole in itself.
        """
        for id_type, shelves in self._shelves.items():
            for profiles in shelves:
                for identity in list(profiles):
                    found = attributes(profiles[identity], self.sources)
                    yield id_type, identity, {name: item.value for name, item in found.items()}
