"""What makes two submissions equal, and what a key means."""

from __future__ import annotations

from typing import Any

import pytest

from maskq.producer.client.identity import identify
from maskq.producer.schema import JobSpec, Limits, Options
from maskq.producer.state.ledger import Identity
from maskq.segmentation.models.spec import ModelSpec
from maskq.tasks.embed import _digest


def identity(image: bytes = b"image", *, across: bool = False, sender: str = "host", **spec: Any) -> Identity:
    return identify(image, JobSpec(**spec), key="k", sender=sender, reuse=True, across_clients=across)


def test_a_name_a_priority_and_a_deadline_change_no_result() -> None:
    assert identity().same == identity(name="a.png", priority=9, limits=Limits(expires_s=1)).same


@pytest.mark.parametrize(
    "spec",
    [
        {"model": "nuclei@1"},
        {"client": "a"},
        {"sender": "another host"},
        {"options": Options(tta=True)},
        {"limits": Limits(max_pixels=5)},
        {"image": b"other"},
    ],
)
def test_what_changes_the_result_or_its_owner_is_shared_with_none(spec: dict[str, Any]) -> None:
    assert identity(**spec).same != identity().same


def test_across_clients_the_owner_does_not_matter() -> None:
    assert len({identity(across=True, client=owner).same for owner in ("a", "b", "")}) == 1


def test_a_request_is_the_image_the_model_the_options_and_the_limits() -> None:
    requests = [
        identity(),
        identity(image=b"other"),
        identity(model="nuclei@1"),
        identity(options=Options(tta=True)),
        identity(limits=Limits(expires_s=1)),
    ]
    assert len({each.request for each in requests}) == len(requests)
    assert identity(name="a.png", priority=9, client="a").request == identity().request


def test_no_sender_has_the_keys_of_a_client_or_of_another_sender() -> None:
    keys = [identity(client="a").key, *(identity(sender=sender).key for sender in ("a", "", "::1", ":", "a:b", "a/b"))]
    assert len(set(keys)) == len(keys)
    assert all(key and key.count(":") == 1 for key in keys)


def test_nothing_is_hashed_for_a_job_that_shares_nothing() -> None:
    assert identify(b"image", JobSpec(), key=None, sender=None, reuse=False, across_clients=False) == Identity()


def test_every_change_of_a_model_changes_its_digest() -> None:
    spec = ModelSpec(name="cells", sha256="0" * 64)
    changes: list[dict[str, Any]] = [
        {"version": 2},
        {"sha256": "1" * 64},
        {"seed_threshold": 0.8},
        {"min_pixels": 7},
        {"scale": 2.0},
        {"normalisation": "unit"},
    ]
    digests = [_digest(spec.model_copy(update=change)) for change in changes]
    assert len({_digest(spec), *digests}) == len(changes) + 1
    assert _digest(spec) == _digest(spec.model_copy())
