"""Real workers and a user's models: models that are added, changed or broken take effect without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save

from maskq import Client, JobFailed, Options, Result, Settings, State
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.workers.local.stack import Stack, running
from tests.conftest import processes, until
from tests.integration.conftest import asleep

IMAGE = np.random.default_rng(0).integers(0, 255, (24, 40), np.uint8)
WAIT_S = 60


def put(folder: Path, version: int, *, everything: bool, min_pixels: int = 0) -> None:
    """A version of `cells` that finds one object, the whole image, or none."""
    network = BranchedERFNet(1, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        state = network.state_dict()
        state["seed.6.bias"].fill_(5.0 if everything else -5.0)
        state["instance.6.bias"][2:] = -1.0  # a margin of many units
    weights = save({name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()})
    spec = ModelSpec(name="cells", version=version, bandwidths=1, min_pixels=min_pixels, normalisation="unit")
    model.write_model(folder / "cells" / str(version), spec, weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    settings = Settings(devices="cpu", cluster_processes=1, torch_threads=1, resend_s=1, models=str(folder))
    with running(settings) as up:
        yield up


@pytest.fixture(autouse=True)
def _no_restart(stack: Stack) -> Iterator[None]:
    before = workers()
    yield
    assert workers() == before


def workers() -> set[psutil.Process]:
    return processes("maskq.workers.device.process") | processes("maskq.workers.cluster")


def segmented(client: Client, name: str) -> Result:
    return client.submit(IMAGE, model=name).wait(WAIT_S)


def segmented_by(client: Client, name: str, label: str) -> Result:
    """The first result of a job for the model `name` that was computed by the model `label`."""
    return until(lambda: result if (result := segmented(client, name)).model == label else None, WAIT_S)


def test_a_new_version_is_taken_without_a_restart_and_the_old_one_stays_for_those_who_name_it(
    client: Client, folder: Path
) -> None:
    put(folder, 1, everything=False)
    assert segmented_by(client, "cells", "cells@1").objects == ()
    put(folder, 2, everything=True)
    newer = segmented_by(client, "cells", "cells@2")
    assert [found.area for found in newer.objects] == [IMAGE.size]
    older = segmented(client, "cells@1")
    assert (older.model, older.objects) == ("cells@1", ())
    assert segmented(client, "cells@2").labels.all()


def test_the_shipped_model_is_there_beside_a_users_own(client: Client) -> None:
    assert segmented(client, "nuclei").model == segmented(client, "nuclei@3").model == "nuclei@3"


def test_a_version_that_comes_between_the_stages_changes_nothing_for_the_job(client: Client, folder: Path) -> None:
    put(folder, 5, everything=True)
    segmented_by(client, "cells", "cells@5")
    with asleep("maskq.workers.cluster"):
        job = client.submit(IMAGE, model="cells")
        strict = client.submit(IMAGE, model="cells", options=Options(min_pixels=IMAGE.size))
        until(lambda: {job.state, strict.state} == {State.EMBEDDED})
        put(folder, 6, everything=True, min_pixels=IMAGE.size)
    result = job.wait(WAIT_S)
    assert (result.model, len(result.objects)) == ("cells@5", 1)
    assert strict.wait(WAIT_S).objects == ()
    assert segmented_by(client, "cells", "cells@6").objects == ()


def test_a_job_that_names_a_damaged_or_absent_version_fails_with_its_reason(client: Client, folder: Path) -> None:
    put(folder, 7, everything=True)
    (folder / "cells" / "7" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(JobFailed, match=r"weights\.safetensors: its sha256 is") as damaged:
        segmented(client, "cells@7")
    assert damaged.value.error.type == "InvalidModel"
    with pytest.raises(JobFailed, match=r"no model 'cells@99'; there are: .*cells@1") as absent:
        segmented(client, "cells@99")
    assert absent.value.error.type == "UnknownModel"
