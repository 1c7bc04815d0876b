"""A round of the reconciler goes on past what goes wrong in it; over a ledger that raises where the test says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError, ResponseError

from maskq.tasks.reconciler import Reconciler

STEPS = [
    *("reclaim_lost", "resend_lost", "resume_delayed", "recount_stacks"),
    *("wake_followers", "shed_images", "expire_overdue", "past_retention"),
]


class Ledger:
    """Each step moves a job, and then raises what is wrong with it; one job can't be purged."""

    lease_s = 8.0

    def __init__(self, **wrong: Exception) -> None:
        self.wrong = wrong
        self.tried: list[str] = []
        self.purged: list[str] = []

    def _step(self, name: str) -> Iterator[str]:
        self.tried.append(name)
        yield f"a job of {name}"
        if name in self.wrong:
            raise self.wrong[name]

    def reclaim_lost(self) -> Iterator[str]:
        return self._step("reclaim_lost")

    def resend_lost(self, older_s: float) -> Iterator[str]:
        return self._step("resend_lost")

    def resume_delayed(self) -> Iterator[str]:
        return self._step("resume_delayed")

    def recount_stacks(self) -> Iterator[str]:
        return self._step("recount_stacks")

    def wake_followers(self) -> Iterator[str]:
        return self._step("wake_followers")

    def shed_images(self) -> Iterator[str]:
        return self._step("shed_images")

    def expire_overdue(self) -> Iterator[str]:
        return self._step("expire_overdue")

    def past_retention(self) -> list[str]:
        list(self._step("past_retention"))
        return ["one", "damaged", "two"]

    def purge(self, job_ids: list[str]) -> Iterator[str]:
        for job_id in job_ids:
            if job_id.startswith("damaged") and "purge" in self.wrong:
                raise self.wrong["purge"]
            self.purged.append(job_id)
            yield job_id


def reconciler(ledger: Ledger) -> Reconciler:
    return Reconciler(None, ledger, resend_s=10)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_raises_is_logged_once_and_stops_no_other(step: str, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(**{step: ResponseError("WRONGTYPE")})
    assert reconciler(ledger).run_round() == 4, "what was sent before it counts"
    assert ledger.tried == STEPS
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [ledger.wrong[step]]


def test_what_is_purged_before_an_error_counts_and_the_error_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(purge=ResponseError("WRONGTYPE"))
    assert reconciler(ledger).sweep() == 1
    assert ledger.purged == ["one"]
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [ledger.wrong["purge"]]


@pytest.mark.parametrize("step", STEPS)
def test_a_broker_that_goes_away_ends_the_round(step: str) -> None:
    ledger = Ledger(**{step: ConnectionError("refused")})
    with pytest.raises(ConnectionError):
        reconciler(ledger).run_round()
    assert ledger.tried == STEPS[: STEPS.index(step) + 1]


def test_a_broker_that_goes_away_ends_the_sweep() -> None:
    ledger = Ledger(purge=ConnectionError("refused"))
    with pytest.raises(ConnectionError):
        reconciler(ledger).sweep()
    assert ledger.purged == ["one"]
