"""The ledger: never over the cap, in no window, whatever the clock does and whoever dies."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.storage.database import open_database
from uploader.storage.ledger import BULK_ROWS, SINGLE, Grant, Ledger, LedgerClock, Window

EPOCH = 1_700_000_000.0
SMALL = Window("small", 100, 7)
LIFE, TIMEOUT = 10.0, 5.0


@dataclass
class World:
    """True time, a wall clock that may be wrong, and a machine that may be started anew."""

    seconds: float = 0.0
    wrong_by: float = 0.0
    booted_at: float = 0.0
    boot: int = 0

    @property
    def clock(self) -> LedgerClock:
        return LedgerClock(
            lambda: EPOCH + self.seconds + self.wrong_by,
            lambda: self.seconds - self.booted_at,
            lambda: str(self.boot),
        )


@dataclass
class Actor:
    """One process: its lease, and the calls that it made of it."""

    grant: Grant | None = None
    leased_at: float = 0.0
    ends: list[tuple[float, bool]] = field(default_factory=list)


class Simulation:
    """Processes that lease, call, settle and die; ``arrivals`` is what the edge saw."""

    def __init__(self, ledger: Ledger, world: World, cap: int) -> None:
        self.ledger, self.world, self.cap = ledger, world, cap
        self.actors = [Actor() for _ in range(3)]
        self.arrivals: list[float] = []

    async def lease(self, actor: Actor, calls: int) -> None:
        if actor.grant is None:
            actor.leased_at = self.world.seconds
            grant = await self.ledger.lease(
                SMALL, self.cap, calls, life_seconds=LIFE, timeout_seconds=TIMEOUT
            )
            actor.grant = grant if grant.calls else None

    def call(self, actor: Actor, takes: float, arrives: float, *, answered: bool) -> None:
        """Start a call, if one may start; it reaches the edge somewhere on its way."""
        is_live = self.world.seconds < actor.leased_at + LIFE
        if actor.grant is not None and is_live and len(actor.ends) < actor.grant.calls:
            takes = takes if answered else TIMEOUT
            actor.ends.append((self.world.seconds + takes, answered))
            self.arrivals.append(self.world.seconds + takes * arrives)

    async def settle(self, actor: Actor) -> None:
        """When all of its calls have ended."""
        if actor.grant is None:
            return
        self.world.seconds = max([self.world.seconds, *(end for end, _ in actor.ends)])
        answered = sum(answered for _, answered in actor.ends)
        unanswered = len(actor.ends) - answered
        await self.ledger.settle(SMALL, actor.grant.lease, answered=answered, unanswered=unanswered)
        self.crash(actor)

    @staticmethod
    def crash(actor: Actor) -> None:
        actor.grant, actor.ends = None, []

    def start_anew(self) -> None:
        """The machine: all processes are gone, and the wall clock is right for once."""
        for actor in self.actors:
            self.crash(actor)
        world = self.world
        world.boot, world.booted_at, world.wrong_by = world.boot + 1, world.seconds, 0.0


ACTORS = st.integers(0, 2)
PARTS = st.floats(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), ACTORS, st.integers(1, 4)),
        st.tuples(st.just("call"), ACTORS, PARTS, PARTS, st.booleans()),
        st.tuples(st.just("call"), ACTORS, PARTS, PARTS, st.just(value=True)),
        st.tuples(st.just("settle"), ACTORS),
        st.tuples(st.just("crash"), ACTORS),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 9.9, 10.0, 60.0, 99.9, 100.1])),
        st.tuples(st.just("pass"), st.floats(0, 120)),
        st.tuples(st.just("jump"), st.sampled_from([-100_000.0, -90.0, 90.0, 100_000.0])),
        st.tuples(st.just("set right")),
        st.tuples(st.just("start anew")),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 5))
def test_in_no_window_are_more_calls_made_than_the_cap(
    steps: list[tuple[Any, ...]], cap: int
) -> None:
    """With crashes, lost answers, restarts, and a clock that is set at will."""

    async def main() -> None:
        database, world = open_database("sqlite://"), World()
        simulation = Simulation(Ledger(database, "account", world.clock), world, cap)
        for name, *rest in steps:
            await _step(simulation, name, rest)
        database.close()
        arrivals = sorted(simulation.arrivals)
        for first, one_too_many in zip(arrivals, arrivals[cap:], strict=False):
            assert one_too_many - first >= SMALL.seconds

    asyncio.run(main())


async def _step(simulation: Simulation, name: str, rest: list[Any]) -> None:
    world = simulation.world
    match name, rest:
        case "lease", [actor, calls]:
            await simulation.lease(simulation.actors[actor], calls)
        case "call", [actor, takes, arrives, answered]:
            chosen = simulation.actors[actor]
            simulation.call(chosen, takes * TIMEOUT, arrives, answered=answered)
        case "settle", [actor]:
            await simulation.settle(simulation.actors[actor])
        case "crash", [actor]:
            simulation.crash(simulation.actors[actor])
        case "pass", [seconds]:
            world.seconds += seconds
        case "jump", [seconds]:
            world.wrong_by += seconds
        case "set right", []:
            world.wrong_by = 0.0
        case "start anew", []:
            simulation.start_anew()


@pytest.mark.parametrize("wrong_by", [90_000.0, -90_000.0, 1e9])
def test_a_clock_that_is_set_and_set_right_again_frees_nothing(
    tmp_path: Path, wrong_by: float
) -> None:
    """Neither forward, which looks like another day, nor back, when the calls are made."""

    async def main() -> None:
        world = World()
        database = open_database(f"sqlite:///{tmp_path / 'state.db'}")
        ledger = Ledger(database, "account", world.clock)

        async def granted() -> int:
            lease = await ledger.lease(SINGLE, 10, 10, life_seconds=0, timeout_seconds=0)
            if lease.calls:
                await ledger.settle(SINGLE, lease.lease, answered=10, unanswered=0)
            return lease.calls

        await ledger.standing(SINGLE)
        for made_when_wrong_by in (wrong_by, 0.0):
            world.wrong_by = made_when_wrong_by
            assert await granted() == 10
            for later in (0.0, wrong_by, -wrong_by, 0.0):
                world.wrong_by = later
                assert await granted() == 0
            world.seconds += 86_300
            assert await granted() == 0
            # Made under a clock far ahead, they may count a day or two longer, not for ever.
            world.seconds += 100_000
        database.close()

    asyncio.run(main())


def test_two_days_of_quota_are_spent_to_the_last_call(tmp_path: Path) -> None:
    """A cap of a thousand, four processes, one of which dies: then its lease is lost, no more."""

    async def main() -> None:
        world, dice = World(), random.Random(5)
        database = open_database(f"sqlite:///{tmp_path / 'state.db'}")
        ledger = Ledger(database, "account", world.clock)
        calls: list[float] = []
        while world.seconds < 2 * 86_400 - 3_600:
            lease = await ledger.lease(SINGLE, 1_000, 50, life_seconds=10, timeout_seconds=30)
            if not lease.calls:
                assert lease.free_at is not None
                wait = lease.free_at.timestamp() - EPOCH - world.seconds
                assert 0 < wait <= 86_400 + 60
                world.seconds += wait
                continue
            if len(calls) == 500:
                calls.append(-1.0)  # this process is killed before its first call
                continue
            for _ in range(lease.calls):
                calls.append(world.seconds)
                world.seconds += dice.random() / 10
            await ledger.settle(SINGLE, lease.lease, answered=lease.calls, unanswered=0)
        database.close()
        calls = [at for at in calls if at >= 0]
        assert all(b - a >= 86_400 for a, b in zip(calls, calls[1_000:], strict=False))
        assert sum(at < 86_400 for at in calls) == 950
        assert len(calls) == 1_950

    asyncio.run(main())


def test_all_or_nothing_waits_until_enough_is_free(tmp_path: Path) -> None:
    """400 rows are left of 1,000; a batch of 500 is told when the fifth hundred frees."""

    async def main() -> None:
        world = World()
        database = open_database(f"sqlite:///{tmp_path / 'state.db'}")
        ledger = Ledger(database, "account", world.clock)

        async def ask(rows: int) -> Grant:
            return await ledger.lease(
                BULK_ROWS, 1_000, rows, life_seconds=0, timeout_seconds=0, at_least=rows
            )

        for rows in (60, 40, 500):
            lease = await ask(rows)
            assert lease.calls == rows
            await ledger.settle(BULK_ROWS, lease.lease, answered=rows, unanswered=0)
            world.seconds += 3_600
        refused = await ask(500)
        assert refused.calls == 0
        assert refused.free_at is not None
        world.seconds = refused.free_at.timestamp() - EPOCH
        assert 86_400 + 3_600 < world.seconds <= 86_400 + 3_660
        assert (await ask(500)).calls == 500
        assert (await ledger.standing(BULK_ROWS)).used == 1_000
        database.close()

    asyncio.run(main())


def test_a_lease_that_may_come_back_is_looked_at_before_the_window_is_over(tmp_path: Path) -> None:
    """Its calls are free when its process settles it, which a living one does by its end."""

    async def main() -> None:
        world = World()
        database = open_database(f"sqlite:///{tmp_path / 'state.db'}")
        ledger = Ledger(database, "account", world.clock)

        async def ask() -> Grant:
            return await ledger.lease(SINGLE, 10, 10, life_seconds=10, timeout_seconds=30)

        await ask()
        while_it_lives = (await ask()).free_at
        world.seconds = 41
        after_its_death = (await ask()).free_at
        assert while_it_lives == datetime.fromtimestamp(EPOCH + 40, UTC)
        assert after_its_death == datetime.fromtimestamp(EPOCH + 86_440, UTC)
        database.close()

    asyncio.run(main())


def test_accounts_and_windows_do_not_share_a_cap(tmp_path: Path) -> None:
    """One store holds them all."""

    async def main() -> None:
        database = open_database(f"sqlite:///{tmp_path / 'state.db'}")
        for account in ("a", "b"):
            for window in (SINGLE, SMALL):
                ledger = Ledger(database, account)
                lease = await ledger.lease(window, 5, 9, life_seconds=1, timeout_seconds=1)
                assert lease.calls == 5
                standing = await ledger.standing(window)
                assert (standing.used, sum(n for _, n in standing.frees)) == (5, 5)
        database.close()

    asyncio.run(main())
