"""Kubernetes and SLURM: what the page's files say, and workers as they run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from maskq import Client, Settings, State
from maskq.producer.settings import variable
from maskq.workers.local.ports import free_port
from tests.acceptance.processes import MASKQ, maskq, plain, start
from tests.conftest import until

from .page import IMAGE, PAGE, WAIT_S, block

CHECKOUT = Path(__file__).parents[3]
DOCKERFILE = (CHECKOUT / "docker" / "Dockerfile").read_text()
MANIFESTS = {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(block("Kubernetes", "yaml"))}
PODS = {name: item["spec"]["template"]["spec"] for (kind, name), item in MANIFESTS.items() if kind == "Deployment"}


def containers() -> list[Any]:
    return [pytest.param(pod["containers"][0], id=name) for name, pod in PODS.items()]


@pytest.mark.parametrize("container", containers())
def test_a_container_runs_a_command_of_its_image_with_settings_that_exist(container: dict[str, Any]) -> None:
    assert container["image"].removeprefix("maskq-") in re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["maskq"]' in DOCKERFILE and container["args"][0] != "maskq"
    assert maskq(*container["args"], "--help").returncode == 0
    own = {entry["name"] for entry in container["env"]} - {"HOME", "TMPDIR", "NUMBA_CACHE_DIR"}
    assert own <= {variable(name) for name in Settings.model_fields}
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_grace_period_and_what_belongs_together() -> None:
    cluster, gateway = PODS["maskq-cluster"], PODS["maskq-gateway"]
    assert cluster["terminationGracePeriodSeconds"] == Settings(broker_url=None).grace_s + 10
    for (kind, name), item in MANIFESTS.items():
        labels = item["spec"]["template"]["metadata"]["labels"] if kind == "Deployment" else None
        selector = item["spec"]["selector"]
        assert selector == ({"matchLabels": labels} if labels else {"app": name})
    for pod in PODS.values():
        assert [mount["name"] for mount in pod["containers"][0]["volumeMounts"]] == [pod["volumes"][0]["name"]]
    (container,) = gateway["containers"]
    port = container["ports"][0]["containerPort"]
    assert container["args"][-1] == str(port)
    assert MANIFESTS["Service", "maskq-gateway"]["spec"]["ports"][0]["targetPort"] == port
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {port}


#: The page's container: its user, its volume, a root that can't be written, and a /dev/shm of 64 kB. It may read what
#: this machine's Python needs, and the checkout, which may be in the folder that the volume hides. Arguments: the
#: volume's path, the user, the checkout, the command.
_AS_POD = """
exec 9<"$3"
mount --make-rprivate / && mount -t tmpfs -o size=64k none /dev/shm && mount -o remount,bind,ro / &&
if [ "$1" ]; then
  mount -t tmpfs -o mode=1777 none "$1" &&
  { [ -d "$3" ] || { mkdir -p "$3" && mount --no-canonicalize --bind /proc/self/fd/9 "$3" &&
    mount -o remount,bind,ro "$3"; }; }
else mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp; fi &&
exec 9<&- setpriv --reuid="$2" --regid=0 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search \
  "${@:4}"
"""


def _has_namespaces() -> bool:
    if os.getuid() or not shutil.which("setpriv") or not shutil.which("unshare"):
        return False
    trial = ["unshare", "--mount", "sh", "-c", "mount --make-rprivate / && mount -o remount,bind,ro /"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not _has_namespaces(), reason="only root can become another user with a root of its own"
)


def pod(name: str, url: str, *arguments: str, volume: bool = True, **env: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the page's pod, with or without its volume; `arguments` come last."""
    spec = PODS[name]
    container = spec["containers"][0]
    own = {entry["name"]: str(entry["value"]) for entry in container["env"]}
    links = {  # of services named maskq-gateway, maskq-flower and flower
        f"{service}_PORT": "tcp://10.96.0.12:8000" for service in ("MASKQ_GATEWAY", "MASKQ_FLOWER", "FLOWER")
    }
    mount = container["volumeMounts"][0]["mountPath"] if volume else ""
    user = str(spec["securityContext"]["runAsUser"])
    program = [*MASKQ, *(arguments or container["args"])]
    command = ["unshare", "--mount", "bash", "-c", _AS_POD, "pod", mount, user, str(CHECKOUT), *program]
    return command, plain({"HOME": "/nonexistent", **links, **own, "MASKQ_BROKER_URL": url, **env})


@needs_namespaces
def test_pods_with_any_user_a_read_only_root_and_little_shared_memory(redis_port: int, tmp_path: Path) -> None:
    url, port = f"redis://127.0.0.1:{redis_port}/6", free_port()
    programs = {
        "cluster": pod("maskq-cluster", url, MASKQ_CLUSTER_PROCESSES="1"),
        "device": pod("maskq-cluster", url, "worker", "device", "--devices", "cpu"),
        "gateway": pod("maskq-gateway", url, "serve", "--port", str(port)),
    }
    running, logs = [], {name: tmp_path / f"{name}.log" for name in programs}
    for name, (command, env) in programs.items():
        with logs[name].open("w") as output:
            running.append(subprocess.Popen(command, env=env, stdout=output, stderr=output, cwd="/"))
    try:
        with Client(url) as client:
            until(lambda: client.stats().devices and client.stats().cluster_workers, WAIT_S)
            assert client.submit(IMAGE, reuse=False).wait(WAIT_S)
        gateway = f"http://127.0.0.1:{port}"
        for probe in "livenessProbe", "readinessProbe":
            path = PODS["maskq-gateway"]["containers"][0][probe]["httpGet"]["path"]
            until(partial(_ok, f"{gateway}{path}"), WAIT_S)
        image = IMAGE + bytes(3 << 20)
        posted = httpx.post(f"{gateway}/v1/jobs", files={"file": ("cells.png", image)}, timeout=60)
        assert posted.status_code == 202, posted.text
        job = gateway + posted.json()["links"]["self"]
        assert httpx.get(f"{job}/result?wait=60", timeout=WAIT_S).status_code == 200
    except BaseException:
        print(*(log.read_text() for log in logs.values()))
        raise
    finally:
        for program in running:
            program.terminate()
        for program in running:
            program.wait(60)


def _ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=WAIT_S).is_success
    except httpx.TransportError:
        return False


@needs_namespaces
def test_workers_without_any_folder_to_write(redis_port: int) -> None:
    """The CPU worker says what it needs; the device worker runs."""
    url = f"redis://127.0.0.1:{redis_port}/9"
    command, env = pod("maskq-cluster", url, volume=False)
    refused = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert refused.returncode == 2 and refused.stderr.startswith("maskq: no folder for temporary files can be written")
    command, env = pod("maskq-cluster", url, "worker", "device", "--devices", "cpu", volume=False)
    worker = subprocess.Popen(command, env=env, cwd="/")
    try:
        with Client(url) as client:
            job = client.submit(IMAGE, reuse=False)
            until(lambda: job.state is State.EMBEDDED, WAIT_S)
            (node,) = client.stats().devices
            assert re.fullmatch(r"cpu-\d+@.*", node)
    finally:
        worker.terminate()
        worker.wait(60)


SRUN = """#!/bin/bash
# A job step: its options are SLURM's, the rest is the command, which gets the signals.
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path: Path, redis_port: int) -> Iterator[tuple[Path, dict[str, str]]]:
    """The page's batch script for this machine's device, and an environment with a `srun`."""
    (tmp_path / "bin").mkdir()
    srun, script = tmp_path / "bin" / "srun", tmp_path / "job.sh"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    url = f"redis://127.0.0.1:{redis_port}/7"
    page = block("SLURM", "bash").replace("redis://head-node:6379/0", url).replace("cuda=auto", "cpu")
    script.write_text(page)
    path = f"{srun.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield script, {"PATH": path, "MASKQ_BROKER_URL": url}


def test_the_batch_script_and_its_options(slurm: tuple[Path, dict[str, str]]) -> None:
    assert subprocess.run(["bash", "-n", slurm[0]], check=False).returncode == 0
    options = re.findall(r"--([a-z-]+)=", " ".join(re.findall(r"^#SBATCH (.*)$", block("SLURM", "bash"), re.MULTILINE)))
    assert options == ["job-name", "gpus", "cpus-per-task", "time", "signal"]
    assert maskq("worker", "device", "--devices", "cuda=auto", "--help").returncode == 0


def test_two_jobs_of_one_node_are_told_apart_and_end_with_their_time(slurm: tuple[Path, dict[str, str]]) -> None:
    script, env = slurm
    jobs = [subprocess.Popen(["bash", script], env=plain(env), start_new_session=True) for _ in range(2)]
    cluster = start("worker", "cluster", env=env)
    try:
        with Client(env["MASKQ_BROKER_URL"]) as client:
            nodes = until(lambda: _of_two(client), WAIT_S)
            assert {node.partition("@")[0] for node in nodes} == {"cpu", "cpu-2"}
            assert len(json.loads(maskq("stats", "--json", env=env).stdout)["devices"]) == 2
            assert client.submit(IMAGE, reuse=False).wait(WAIT_S)
            for job in jobs:
                os.killpg(job.pid, signal.SIGTERM)  # --signal=TERM@60
            until(lambda: not client.stats().devices, WAIT_S)
    finally:
        for job in jobs:
            job.wait(60)
        cluster.terminate()
        cluster.communicate(timeout=60)
    assert "`gpu0-2`" in PAGE


def _of_two(client: Client) -> dict[str, Any] | None:
    devices = client.stats().devices
    return devices if len(devices) == 2 else None
