"""`maskq up` in one terminal; submit, status, result, cancel, the gateway and Flower in others."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from maskq import Client, Settings
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import marked, maskq, start
from tests.conftest import until


class Up:
    """A running `maskq up` with its own state folder; `output` is the file of its stdout and stderr."""

    def __init__(self, folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.env = {
            "MASKQ_STATE_DIR": str(folder / "state"),
            "MASKQ_FLOWER_PORT": "0",
            "MASKQ_GATEWAY_PORT": "0",
            "MASKQ_TEST_MARK": self.mark,
            "MASKQ_FLOWER_UNAUTHENTICATED_API": "true",
        }
        self.output = folder / "output"
        with self.output.open("w") as file:
            self.process = start("up", "--devices", "cpu", "--cluster-processes", "1", env=self.env, stdout=file)
        until(lambda: "Ctrl-C stops" in self.output.read_text() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.output.read_text()
        (self.flower,) = re.findall(r"Flower: (\S+)", self.output.read_text())
        (self.gateway,) = re.findall(r"gateway: (\S+)/docs", self.output.read_text())

    def maskq(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return maskq(*arguments, env={k: v for k, v in self.env.items() if k != "MASKQ_TEST_MARK"})

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        until(lambda: not marked(self.mark), 30)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    stack = Up(tmp_path_factory.mktemp("up"))
    try:
        yield stack
    finally:
        stack.process.kill()
        stack.process.wait()
        for process in marked(stack.mark):
            process.kill()


def test_submit_status_result_and_flower_see_the_same_jobs(up: Up, tmp_path: Path) -> None:
    pieces = ten_pieces(tmp_path / "in")[:3]
    submitted = up.maskq("submit", *(path for path, _ in pieces), "--priority", "9")
    jobs = submitted.stdout.split()
    assert submitted.returncode == 0 and len(jobs) == 3

    results = up.maskq("result", *jobs, "--out", tmp_path / "out", "--wait", "60", "--json")
    assert results.returncode == 0, results.stderr
    assert {json.loads(line)["job_id"] for line in results.stdout.splitlines()} == set(jobs)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.labels.png")) == [
        f"{path.stem}.labels.png" for path, _ in pieces
    ]

    statuses = [json.loads(line) for line in up.maskq("status", *jobs, "--json").stdout.splitlines()]
    assert [(s["id"], s["state"], s["spec"]["priority"]) for s in statuses] == [(job, "done", 9) for job in jobs]

    tasks = until(lambda: succeeded(up.flower, jobs), 30)
    assert {t["name"] for t in tasks} == {"tasks.embed", "tasks.cluster"}
    assert all("nuclei" in t["args"] for t in tasks), "Flower shows what a task is about"
    workers = httpx.get(f"{up.flower}/api/workers?refresh=1").json()
    assert any(name.startswith("cpu@") for name in workers) and any(name.startswith("cluster") for name in workers)
    assert 'flower_events_total{task="tasks.embed",type="task-succeeded"' in httpx.get(f"{up.flower}/metrics").text


def test_results_come_in_the_formats_of_other_programs(up: Up, tmp_path: Path) -> None:
    names = "labels,objects,table,overlay,geojson,coco,yolo,imagej,ome-tiff,ome-zarr"
    pieces = ten_pieces(tmp_path / "in")[:2]
    jobs = up.maskq("submit", *(path for path, _ in pieces)).stdout.split()
    done = up.maskq("result", *jobs, "--out", tmp_path / "out", "--wait", "60", "--format", names)
    assert done.returncode == 0, done.stderr
    zipped = up.maskq("result", *jobs, "--out", tmp_path / "zip", "--format", names, "--zip")
    assert zipped.returncode == 0, zipped.stderr
    with zipfile.ZipFile(tmp_path / "zip" / "results.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    files, again = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "out", tmp_path / "unpacked")
    )
    assert files.pop(Path("summary.json")) and again.pop(Path("summary.json"))
    assert files == again and len(json.loads(files[Path("coco.json")])["images"]) == 2
    for path, _ in pieces:
        collection = json.loads(files[Path(f"{path.stem}.geojson")])
        labels = np.asarray(Image.open(io.BytesIO(files[Path(f"{path.stem}.labels.png")])))
        assert {int(feature["properties"]["name"]) for feature in collection["features"]} == {*np.unique(labels)} - {0}
    with httpx.Client(base_url=up.gateway, timeout=90) as http:
        one = http.get(f"/v1/jobs/{jobs[0]}/result", headers={"accept": "application/geo+json"})
        assert one.content == files[Path(f"{pieces[0][0].stem}.geojson")]
        many = http.post("/v1/results.zip", json={"jobs": jobs, "formats": names.split(",")})
    with zipfile.ZipFile(io.BytesIO(many.content)) as archive:
        over_http = {Path(name): archive.read(name) for name in archive.namelist() if name != "summary.json"}
    assert over_http == files


def succeeded(flower: str, jobs: list[str]) -> list[dict[str, Any]] | None:
    tasks = [t for t in httpx.get(f"{flower}/api/tasks").json().values() if t["state"] == "SUCCESS"]
    of_jobs = [t for t in tasks if any(job[:8] in t["args"] for job in jobs)]
    return of_jobs if len(of_jobs) == 2 * len(jobs) else None


def test_the_gateway_takes_an_image_and_gives_its_objects(up: Up, tmp_path: Path) -> None:
    (piece, _), *_ = ten_pieces(tmp_path / "in")
    with httpx.Client(base_url=up.gateway, timeout=90) as http:
        queued = http.post("/v1/jobs", files={"file": piece.read_bytes()})
        assert queued.status_code == 202, queued.text
        result = http.get(queued.json()["links"]["result"], params={"wait": 60})
    assert result.status_code == 200 and result.json()["objects"]
    assert up.maskq("status", queued.json()["job_id"]).returncode == 0, "other terminals see the same job"


def test_an_image_that_is_kept_in_pieces_is_segmented(up: Up) -> None:
    pixels = np.zeros((2300, 2300), np.uint8)
    pixels[1000:1020, 1000:1020] = 200
    np.save(stream := io.BytesIO(), pixels)
    with httpx.Client(base_url=up.gateway, timeout=90) as http:
        queued = http.post("/v1/jobs", content=stream.getvalue(), headers={"Content-Type": "application/x-npy"})
        assert queued.status_code == 202, queued.text
        result = http.get(queued.json()["links"]["result"], params={"wait": 60})
        assert result.status_code == 200 and (result.json()["height"], result.json()["width"]) == (2300, 2300)
        assert http.get(queued.json()["links"]["labels"]).content.startswith(b"\x89PNG")


def test_no_name_steers_the_terminal_and_no_log_has_the_password(up: Up, tmp_path: Path) -> None:
    with httpx.Client(base_url=up.gateway, timeout=90) as http:
        name = "a\x1b]0;title\x07\x1b[2Jb.png"
        job = http.post("/v1/jobs", content=b"no image", params={"name": name}).json()["job_id"]
        assert http.get(f"/v1/jobs/{job}/result?wait=60").status_code == 422
    status = up.maskq("status", job)
    result = up.maskq("result", job, "--out", tmp_path)
    assert r"a\x1b]0;title" in status.stdout.replace("\n", "") + result.stderr
    logs = [up.output, *(Path(up.env["MASKQ_STATE_DIR"]) / "logs").iterdir()]
    password = urlsplit((Path(up.env["MASKQ_STATE_DIR"]) / "broker-url").read_text()).password
    for text in (status.stdout, status.stderr, result.stdout, result.stderr, *(log.read_text() for log in logs)):
        assert "\x1b" not in text and "\x07" not in text
        assert password and password not in text
    assert {oct(log.stat().st_mode & 0o077) for log in logs[1:]} == {"0o0"}, "logs are for this user alone"


def test_a_client_without_a_broker_url_uses_the_running_stack(up: Up, tmp_path: Path) -> None:
    (piece, _), *_ = ten_pieces(tmp_path / "in")
    with Client(settings=Settings(broker_url=None, state_dir=up.env["MASKQ_STATE_DIR"])) as client:
        assert client.submit(piece).wait(60).objects


def test_a_failed_job_is_reported_with_its_reason(up: Up, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    (job,) = up.maskq("submit", tmp_path / "notes.txt").stdout.split()
    result = up.maskq("result", job, "--out", tmp_path / "out", "--wait", "60")
    assert result.returncode == 1 and "notes.txt: a text, not a PNG" in result.stderr
    status = up.maskq("status", job)
    assert status.returncode == 1 and "NotAnImage" in status.stdout
    narrow = maskq("status", job, env={"MASKQ_STATE_DIR": up.env["MASKQ_STATE_DIR"], "COLUMNS": "40"})
    assert job in narrow.stdout and "…" not in narrow.stdout, "no width cuts off what is piped"


def test_cancel_ends_a_queued_job(up: Up, tmp_path: Path) -> None:
    for n in range(12):
        np.save(tmp_path / f"{n}.npy", np.zeros((1024, 1024), np.uint8))
    jobs = up.maskq("submit", tmp_path, "--priority", "0").stdout.split()
    cancelled = up.maskq("cancel", jobs[-1], "--json")
    assert json.loads(cancelled.stdout) == {"job_id": jobs[-1], "state": "cancelled"}
    again = up.maskq("result", jobs[-1], "--out", tmp_path / "out")
    assert again.returncode == 1 and "cancelled" in again.stderr
    assert up.maskq("cancel", "0" * 32).returncode == 1


def test_the_terminal_shows_only_what_is_up_where_it_is_and_what_to_do(up: Up) -> None:
    file = Path(up.env["MASKQ_STATE_DIR"]) / "broker-url"
    assert up.output.read_text().splitlines() == [
        "starting Redis, workers, gateway and Flower …",
        "up: redis, cluster, cpu, flower, gateway",
        f"  Flower: {up.flower}",
        f"  gateway: {up.gateway}/docs",
        f'  broker: export MASKQ_BROKER_URL="$(cat {file})"',
        f"  logs: {up.env['MASKQ_STATE_DIR']}/logs",
        "Queue images with `maskq submit IMAGES...`.",
        "Ctrl-C stops the stack; unfinished jobs are kept.",
    ]


def test_every_process_has_a_log_file(up: Up) -> None:
    logs = Path(up.env["MASKQ_STATE_DIR"]) / "logs"
    names = ("redis", "cluster", "cpu", "flower", "gateway", "supervisor")
    assert {path.name for path in logs.iterdir()} == {f"{name}.log" for name in names}
    assert "Ready to accept connections" in (logs / "redis.log").read_text()


@pytest.mark.parametrize("command", [["up"], ["run", "{image}", "--out", "{out}"]])
def test_a_process_that_keeps_dying_ends_the_command_with_the_end_of_its_log(
    tmp_path: Path, command: list[str]
) -> None:
    server = tmp_path / "bin" / "redis-server"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\necho no room on the disk\nexit 1\n")
    server.chmod(0o700)
    np.save(tmp_path / "image.npy", np.zeros((8, 8), np.uint8))
    env = {
        "PATH": f"{server.parent}:{os.environ['PATH']}",
        "MASKQ_STATE_DIR": str(tmp_path / "state"),
        "MASKQ_FLOWER_PORT": "0",
        "MASKQ_GATEWAY_PORT": "0",
    }
    arguments = (a.format(image=tmp_path / "image.npy", out=tmp_path / "out") for a in command)
    ended = maskq(*arguments, "--devices", "cpu", env=env)
    assert ended.returncode == 2
    assert ended.stderr.startswith("maskq: redis died 5 times (exit 1)\n")
    assert ended.stderr.endswith("no room on the disk\n") and "Traceback" not in ended.stderr


def test_a_second_up_on_the_same_data_is_refused(up: Up) -> None:
    second = up.maskq("up")
    assert second.returncode == 2 and "running already" in second.stderr


def test_a_taken_port_is_reported_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"MASKQ_STATE_DIR": str(tmp_path), "MASKQ_GATEWAY_PORT": str(port), "MASKQ_FLOWER_PORT": "0"}
        refused = maskq("up", "--devices", "cpu", env=env)
    assert refused.returncode == 2 and f"port {port} is taken: set MASKQ_GATEWAY_PORT" in refused.stderr


def test_a_state_folder_that_can_not_be_made_is_reported_with_the_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = maskq("up", env={**os.environ, "MASKQ_STATE_DIR": str(tmp_path / "file" / "state")})
    assert refused.returncode == 2 and "set MASKQ_STATE_DIR to a folder" in refused.stderr


def test_ctrl_c_leaves_nothing_and_the_next_up_still_has_the_jobs(tmp_path: Path) -> None:
    first = Up(tmp_path)
    try:
        (piece, _), *_ = ten_pieces(tmp_path / "in")
        (job,) = first.maskq("submit", piece).stdout.split()
        assert first.maskq("result", job, "--out", tmp_path / "one", "--wait", "60").returncode == 0
        first.stop()
        assert first.process.returncode == 0
        assert first.maskq("status", job).returncode == 2, "no broker is running now"
        second = Up(tmp_path)
        assert second.maskq("result", job, "--out", tmp_path / "two").returncode == 0
        assert (tmp_path / "two" / f"{piece.stem}.labels.png").read_bytes() == (
            tmp_path / "one" / f"{piece.stem}.labels.png"
        ).read_bytes()
        second.process.kill()
        second.process.wait()
        gone = second.maskq("submit", piece)
        assert gone.returncode == 2 and "was killed: start it again" in gone.stderr
    finally:
        for process in marked(first.mark):
            process.kill()
