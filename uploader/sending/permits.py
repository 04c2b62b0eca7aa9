"""All that one call needs of the quota: a call, and where batch rows are capped, its rows."""

from __future__ import annotations

from typing import Self

from uploader.sending.quota import Allowance, Permit


class Permits:
    """What one call needs, as a context manager: what isn't used goes back."""

    def __init__(self, call: Permit, rows: Permit | None) -> None:
        """Made by :meth:`acquire`."""
        self._call = call
        self._rows = rows
        self._begun = False
        self._answered = False

    @staticmethod
    async def acquire(calls: Allowance, rows: Allowance | None, row_count: int) -> Permits | None:
        """A permit for a call and, where *rows* are capped, for its rows; None at a stop.

        Rows come first, since they may take a day, and a permit for a call dies in seconds.
        """
        row_permit = None
        if rows is not None:
            row_permit = await rows.acquire(row_count)
            if row_permit is None:
                return None
        call_permit = None
        try:
            call_permit = await calls.acquire()
        finally:
            if call_permit is None and row_permit is not None:
                row_permit.give_back()
        return None if call_permit is None else Permits(call_permit, row_permit)

    @property
    def are_live(self) -> bool:
        """Whether a call may start now."""
        return self._call.is_live and (self._rows is None or self._rows.is_live)

    def begin(self) -> None:
        """The call starts; from now on it counts."""
        self._begun = True

    def answered(self, *, accepted: bool) -> None:
        """The edge answered. Rows that it said it didn't take go back."""
        self._answered = True
        self._call.done(answered=True)
        if self._rows is not None:
            if accepted:
                self._rows.done(answered=True)
            else:
                self._rows.give_back()

    def __enter__(self) -> Self:
        """Usable at once."""
        return self

    def __exit__(self, *_: object) -> None:
        """Settle what isn't yet: a call without an answer, or one that never began."""
        if self._answered:
            return
        for permit in (self._call, self._rows):
            if permit is not None and self._begun:
                permit.done(answered=False)
            elif permit is not None:
                permit.give_back()
