"""Backends: a Celery project, Django, FastAPI under gunicorn, and what else forks, threads or runs an event loop."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from maskq import Client, Options
from maskq.workers.local.ports import free_port
from tests.acceptance.processes import maskq, plain
from tests.conftest import until

from .page import IMAGE, WAIT_S, block, commands

BIN = Path(sys.executable).parent


def test_a_celery_project(url: str, redis_port: int, tmp_path: Path) -> None:
    """The page's tasks in a real Celery worker that forks after the client was made, with a broker of its own."""
    broker = f"redis://127.0.0.1:{redis_port}/5"
    code = block("A Celery project of your own", "python").replace("redis://redis:6379/4", url)
    (tmp_path / "tasks.py").write_text(code)
    (tmp_path / "cells.png").write_bytes(IMAGE)
    env = plain({"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker, "PYTHONPATH": str(tmp_path)})
    script = """
        import tasks
        tasks.app.conf.update(broker_url=BROKER, result_backend=BROKER)
        job = tasks.segment.delay("cells.png").get(timeout=60)
        print(tasks.store.delay(job).get(timeout=60))
    """
    script = textwrap.dedent(script).replace("BROKER", repr(broker))
    celery = [sys.executable, "-m", "celery", "-A", "tasks", "-b", broker, "--result-backend", broker]
    worker = subprocess.Popen([*celery, "worker", "-c", "2", "-P", "prefork"], cwd=tmp_path, env=env)
    try:
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.stdout.strip().isdigit(), done.stderr
        segmented = maskq("run", tmp_path / "cells.png", "--out", tmp_path / "out", env=env | {"MASKQ_BROKER_URL": url})
        assert segmented.returncode == 0, segmented.stderr
    finally:
        worker.terminate()
        worker.wait(30)


DJANGO = {
    "manage.py": """
        import os, sys
        from django.core.management import execute_from_command_line
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
        execute_from_command_line(sys.argv)
    """,
    "mysite/__init__.py": "from .celery import app as celery_app",
    "mysite/celery.py": """
        from celery import Celery
        app = Celery("mysite")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.autodiscover_tasks()
    """,
    "mysite/settings.py": """
        SECRET_KEY, ROOT_URLCONF, ALLOWED_HOSTS = "secret", "mysite.urls", ["127.0.0.1"]
        CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
        INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
        MIDDLEWARE = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ]
    """,
    "mysite/urls.py": """
        from django.urls import path
        from . import views
        urlpatterns = [path("upload", views.upload)]
    """,
    "mysite/wsgi.py": """
        import os
        from django.core.wsgi import get_wsgi_application
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
        application = get_wsgi_application()
    """,
}


@contextmanager
def serving(command: str, folder: Path, env: dict[str, str]) -> Iterator[str]:
    """One of the page's web servers, and its address."""
    port = free_port()
    name, *arguments = command.split()
    address = f"127.0.0.1:{port}"
    if name == "python":
        program = [sys.executable, *arguments, address, "--noreload"]
    else:
        listen = ["--bind", address] if name == "gunicorn" else ["--port", str(port)]
        program = [str(BIN / name), *listen, *arguments]
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(program, cwd=folder, env=plain(env), stdout=output, stderr=output)
    try:
        until(lambda: _listens(address), WAIT_S)
        yield f"http://{address}"
    except BaseException:
        print(log.read_text())
        raise
    finally:
        server.terminate()
        server.wait(30)


def _listens(address: str) -> bool:
    try:
        httpx.get(f"http://{address}/", timeout=WAIT_S)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize("command", commands("Django"), ids=["manage.py", "gunicorn"])
def test_a_django_project(url: str, tmp_path: Path, command: str) -> None:
    """A real project with its own Celery app; equal uploads in a row reach every process of the server."""
    (tmp_path / "mysite").mkdir()
    for name, content in {**DJANGO, "mysite/views.py": block("Django", "python")}.items():
        (tmp_path / name).write_text(textwrap.dedent(content))
    with serving(command, tmp_path, {"MASKQ_BROKER_URL": url}) as site, Client(url) as client:
        images = [IMAGE] * 11 + [IMAGE + bytes(3 << 20)]  # Django keeps the last one in a file
        answers = [httpx.post(f"{site}/upload", files={"image": ("cells.png", image)}, timeout=60) for image in images]
        assert {answer.status_code for answer in answers} == {202}, answers[0].text
        jobs = [client.job(answer.json()["job"]) for answer in answers]
        assert len({job.wait(WAIT_S).count for job in jobs}) == 1
        assert jobs[0].status().spec.name == "cells.png"


@pytest.mark.parametrize(
    "command", [*commands("FastAPI under gunicorn or uvicorn"), "uvicorn app:app"], ids=["gunicorn", "uvicorn"]
)
def test_fastapi(url: str, tmp_path: Path, command: str) -> None:
    """A client that is made at import, before gunicorn forks, and many requests at once."""
    (tmp_path / "app.py").write_text(block("FastAPI under gunicorn or uvicorn", "python"))
    with serving(command, tmp_path, {"MASKQ_BROKER_URL": url}) as site, ThreadPoolExecutor(8) as threads:

        def segment(_: int) -> int:
            job = httpx.post(f"{site}/images", files={"file": ("cells.png", IMAGE)}, timeout=60)
            assert job.status_code == 202, job.text
            return len(httpx.get(f"{site}/images/{job.json()}", timeout=60).json())

        assert len(set(threads.map(segment, range(24)))) == 1


def _objects(client: Client) -> int:
    return client.submit(IMAGE, reuse=False).wait(WAIT_S).count


def test_prefork_after_use_threads_and_an_event_loop(url: str) -> None:
    """One client for all of them; a child has its parent's client, which has connections open."""
    with Client(url) as client:
        expected = _objects(client)
        children = [os.fork() for _ in range(2)]
        if 0 in children:
            os._exit(0 if _objects(client) == expected else 1)
        assert _objects(client) == expected  # at the same time, over connections that the children must not share
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(_objects, [client] * 16)) == {expected}

        async def in_loop() -> list[int]:
            direct = _objects(client)  # as in a notebook's cell
            return [direct, *await asyncio.gather(*(asyncio.to_thread(_objects, client) for _ in range(3)))]

        assert set(asyncio.run(in_loop())) == {expected}


def test_forks_of_a_process_whose_threads_use_the_client(url: str) -> None:
    """As of a server that replaces its processes while it serves."""
    script = f"""
        import os, signal, threading
        from maskq import Client
        client, image, busy = Client({url!r}), {IMAGE!r}, True

        def segment():
            return client.submit(image, reuse=False).wait(60).count

        def serve():
            while busy:
                assert segment() == expected

        expected = segment()
        threads = [threading.Thread(target=serve) for _ in range(4)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(6):
            children.append(os.fork())
            if not children[-1]:
                signal.alarm(90)
                os._exit(0 if segment() == expected else 1)
        print([os.waitpid(child, 0)[1] for child in children])
        busy = False
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=plain(), capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout.strip() == str([0] * 6), done.stderr


def test_whatever_a_backend_holds_in_its_hands(url: str) -> None:
    """The same picture as bytes, open files, Pillow images and arrays."""
    with Image.open(io.BytesIO(IMAGE)) as opened:
        picture = opened.copy()
    pixels = np.asarray(picture)
    sources: list[tuple[Any, Options]] = [
        *((source, Options()) for source in (IMAGE, bytearray(IMAGE), memoryview(IMAGE), io.BytesIO(IMAGE), picture)),
        (picture.convert("RGB").quantize(256), Options()),
        (pixels, Options()),
        (pixels[None], Options(axes="CYX")),
        (np.stack([pixels] * 3), Options(axes="SYX")),
        (np.stack([pixels] * 2), Options(axes="CYX", channels=2)),
    ]
    with Client(url) as client:
        jobs = [client.submit(source, options=options, reuse=False) for source, options in sources]
        assert len({job.wait(WAIT_S).count for job in jobs}) == 1


def test_a_client_may_be_made_before_redis_runs(tmp_path: Path) -> None:
    """At a backend's import. Redis comes a while later, and the first submission waits for it."""
    from maskq.workers.local.redis_server import find_redis_server

    port = free_port()
    script = f"""
        from maskq import Client
        client = Client("redis://127.0.0.1:{port}/0")
        print("made", flush=True)
        print(client.submit({IMAGE!r}, timeout=60).state, flush=True)
    """
    backend = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, env=plain()
    )
    assert backend.stdout and backend.stdout.readline() == "made\n"
    redis = subprocess.Popen(
        [find_redis_server(), "--port", str(port), "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL
    )
    try:
        assert backend.communicate(timeout=WAIT_S)[0] == "queued\n"
    finally:
        backend.send_signal(signal.SIGKILL)
        redis.terminate()
        redis.wait()
