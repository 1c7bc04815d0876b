"""Job options, limits and states: what is valid, and what a status contains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from maskq import Client, InvalidJob, Limits, Options, PayloadTooLarge, Settings, State
from maskq.producer.schema import JobSpec, JobStatus, Stage


@pytest.fixture
def client() -> Client:
    """A client without a running broker: requests are rejected before anything is sent."""
    return Client("redis://127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "../nuclei"}, r"model: .*pattern.*given '\.\./nuclei'"),
        ({"model": "Nuclei"}, "model: .*'Nuclei'"),
        ({"model": ""}, "model: .*''"),
        ({"model": "a" * 65}, "model: "),
        ({"model": "nuclei\n"}, "model: "),
        ({"model": "nuclei@0"}, "model: "),
        ({"model": "nuclei@"}, "model: "),
        ({"model": "nuclei@1/../x"}, "model: "),
        ({"priority": 10}, "priority: .*less than or equal to 9 .given 10"),
        ({"priority": -1}, "priority: .*greater than or equal to 0 .given -1"),
        ({"priority": "high"}, "priority: .*'high'"),
        ({"options": {"seed_threshold": 0.4}}, r"options.seed_threshold: .*0\.5 .given 0\.4"),
        ({"options": {"min_pixels": -1}}, "options.min_pixels: .*given -1"),
        ({"options": {"colour": "red"}}, "options.colour: .*not permitted"),
        ({"limits": {"max_pixels": 0}}, "limits.max_pixels: .*given 0"),
        ({"limits": {"expires_s": float("nan")}}, "limits.expires_s: .*nan"),
        ({"priority": 11, "model": "?"}, "model: .*; priority: "),
    ],
)
def test_an_invalid_argument_is_rejected_on_one_line_with_its_value(
    client: Client, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidJob, match=message) as raised:
        client.submit(b"an image", **arguments)
    assert "\n" not in str(raised.value)
    assert raised.value.status == 422


def test_an_array_of_objects_is_rejected(client: Client) -> None:
    with pytest.raises(InvalidJob, match="an array of object is no image"):
        client.submit(np.array([[None]]))


def test_a_file_over_the_byte_limit_is_rejected_with_its_name_and_the_limit(tmp_path: Any) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(bytes(1001))
    small = Client(settings=Settings(broker_url="redis://127.0.0.1:1", max_bytes=1000))
    with pytest.raises(PayloadTooLarge, match=r"large.png: 1,001 bytes, over the limit of 1,000 bytes"):
        small.submit(file)
    with pytest.raises(PayloadTooLarge, match=r"cells: 1,001 bytes, over"):
        small.submit(bytes(1001), name="cells")


def test_a_missing_file_is_an_os_error(client: Client) -> None:
    with pytest.raises(FileNotFoundError):
        client.submit("no-such-image.png")


def test_a_missing_broker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(InvalidJob, match="set MASKQ_BROKER_URL .* or start one with `maskq up`"):
        Client()
    with pytest.raises(InvalidJob, match="MASKQ_BROKER_URL: "):
        Client("htp://nowhere")


def test_a_jobs_options_are_immutable() -> None:
    spec = JobSpec(options=Options(min_pixels=3), limits=Limits(max_pixels=9))
    for part, name in ((spec, "model"), (spec.options, "min_pixels"), (spec.limits, "max_pixels")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, 1)


def test_the_stages_lead_through_all_states_to_done() -> None:
    path = [state for stage in Stage for state in (stage.waiting, stage.working)] + [Stage.CLUSTER.finished]
    assert path == [State.QUEUED, State.EMBEDDING, State.EMBEDDED, State.CLUSTERING, State.DONE]
    assert Stage.EMBED.finished is Stage.CLUSTER.waiting
    assert {state for state in State if not state.ended} == set(path[:-1])


def test_timings_are_the_times_between_states_and_add_up() -> None:
    times = {State.DONE: 17.5, State.QUEUED: 10.0, State.EMBEDDING: 11.0, State.EMBEDDED: 13.0, State.CLUSTERING: 17.0}
    assert _status(times).timings == {"queued": 1, "embedding": 2, "embedded": 4, "clustering": 0.5, "total": 7.5}
    assert _status({State.QUEUED: 10.0, State.CANCELLED: 12.0}).timings == {"queued": 2, "total": 2}
    assert _status({State.QUEUED: 10.0}).timings == {"total": 0}


def _status(times: dict[State, float]) -> JobStatus:
    return JobStatus(id="1", state=State.QUEUED, spec=JobSpec(), lane="varied", times=times, attempts={})


def test_a_plane_may_be_given_as_a_number() -> None:
    assert Options.model_validate({"planes": 5}) == Options.model_validate_json('{"planes": 5}') == Options(planes="5")
    for wrong in (True, -1, 5.0):
        with pytest.raises(ValidationError, match="should be all, a number from 1"):
            Options.model_validate({"planes": wrong})
