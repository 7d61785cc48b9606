"""deadline: a limit that is moved often. The clock is a number."""

from collections.abc import Callable

from llm_router_gateway.net.deadline import Deadline


class Timer:
    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at, self.action, self.cancelled = at, action, False

    def cancel(self) -> None:
        self.cancelled = True


class Hours:
    """A loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now, self.timers = 0.0, []  # type: float, list[Timer]
        self.rung: list[float] = []
        self.deadline = Deadline(self.call_at, lambda: self.now, lambda: self.rung.append(self.now))

    def call_at(self, at: float, action: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, action))
        return self.timers[-1]

    def until(self, now: float) -> None:
        while due := [timer for timer in self.timers if not timer.cancelled and timer.at <= now]:
            timer = min(due, key=lambda each: each.at)
            self.timers.remove(timer)
            self.now = timer.at
            timer.action()
        self.now = now


def test_it_rings_once_at_its_time() -> None:
    hours = Hours()
    hours.deadline.set(5)
    hours.until(20)
    assert hours.rung == [5.0]


def test_a_later_limit_makes_no_new_timer_and_rings_at_its_own_time() -> None:
    hours = Hours()
    for now in range(100):
        hours.until(now)
        hours.deadline.set(50)
        assert len([timer for timer in hours.timers if not timer.cancelled]) == 1
    hours.until(1000)
    assert hours.rung == [149.0]


def test_an_earlier_limit_counts() -> None:
    hours = Hours()
    hours.deadline.set(50)
    hours.deadline.set(3)
    hours.until(100)
    assert hours.rung == [3.0]


def test_a_cleared_limit_does_not_ring_and_can_be_set_again() -> None:
    hours = Hours()
    hours.deadline.set(5)
    hours.deadline.clear()
    hours.until(10)
    assert hours.rung == []
    hours.deadline.set(5)
    hours.until(20)
    assert hours.rung == [15.0]


def test_a_stopped_one_never_rings_again() -> None:
    hours = Hours()
    hours.deadline.set(5)
    hours.deadline.stop()
    hours.deadline.set(1)
    hours.until(20)
    assert hours.rung == []
    assert all(timer.cancelled for timer in hours.timers)
