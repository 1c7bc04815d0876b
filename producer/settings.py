"""Every setting, once: an environment variable `MASKQ_<NAME>`, read at the edges and passed down.

An empty variable counts as not set.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from platformdirs import user_state_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the broker is, what workers may use, and every bound."""

    model_config = SettingsConfigDict(
        env_prefix="MASKQ_", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    broker_url: str | None = None
    """The Redis of jobs and messages, such as `redis://host:6379/0`. Without one, `maskq run` and `maskq up` start a
    private Redis; the other commands and `Client()` use that of the `maskq up` which this user runs here."""
    store_url: str = "redis"
    """Where images and results are kept: `redis` (the broker's own), or any fsspec URL that producers and workers
    reach, such as `s3://bucket/maskq`."""
    models: str | None = None
    """A folder of models of your own, each in a folder of its name, or any fsspec URL of one, such as
    `s3://bucket/models`; looked in before those that come with maskq."""
    model_memory: int = Field(default=1024**3, ge=0)
    """Bytes of weights that a device process keeps loaded, most recently used first; the last one stays in any case."""
    devices: str = "auto"
    """The devices to run, one process each: `cuda:0=on,cuda:1=auto`, `cuda=auto` (all of them), `cpu`, or `auto`: every
    GPU, or the CPU where there is none. After `=` stands that process's cudnn benchmark: `on` searches the fastest
    convolutions of every shape when it first comes, `off` never, `auto` (the default) once a shape has come so often
    that it pays; on a `cpu` device it is accepted and does nothing. After `;` may stand `lanes=fixed` (images of common
    shapes only), `varied` (all others) or `both`, `batch=16` and `precision=bf16` (or `fp16`, `fp32`):
    `cuda:0=on;lanes=fixed,cuda:1=off;lanes=varied`. `maskq devices` shows what there is and what this makes of it."""
    cluster_processes: int = Field(default=max(1, (os.cpu_count() or 2) // 2), ge=1, le=1024)
    """Processes of a CPU worker. Default: half the cores."""
    device_threads: int = Field(default=0, ge=0, le=256)
    """Jobs that a device process has in hand at once: the others fetch, decode and store while some are on the device.
    0 takes two more than a `cpu` device has cores (4 at least), and for a GPU as many as fill four batches."""
    torch_threads: int = Field(default=0, ge=0, le=1024)
    """Images that a `cpu` device runs side by side, each on one thread; one that is alone gets all of them. 0 takes
    one per core."""
    batch_size: int = Field(default=8, ge=1, le=1024)
    """Images of one shape in a batch on a GPU at most, where the device's own `batch=` says nothing else. Batches are
    of 1, 2, 4, 8 … images; one that is too large for the memory is halved, and that is remembered. A `cpu` device takes
    no batches: see `MASKQ_TORCH_THREADS`."""
    batch_wait_ms: float = Field(default=3.0, ge=0, le=1000)
    """How long an image waits on a GPU for others of its shape at most, milliseconds. It does so only while images of
    that shape come so fast that more of the batch would be filled."""
    device_limit_s: float = Field(default=120.0, gt=0)
    """Seconds that one batch may be on a device; then the device counts as stuck, and its process is replaced."""
    heartbeat_s: float = Field(default=12.0, gt=1)
    """Seconds of silence after which a process that was ready is killed and replaced. It beats once a second."""
    lane_s: float = Field(default=6.0, gt=0)
    """Seconds after which a lane that no device serves is taken by the devices of the other lane, until one does."""
    max_bytes: int = Field(default=256 * 1024**2, ge=1)
    """Bytes of an image file at most."""
    max_pixels: int = Field(default=100_000_000, ge=1)
    """Pixels of an image at most."""
    tile_pixels: int = Field(default=20_000_000, ge=1)
    """Pixels that a network sees at once at most, and those of a batch together. A larger image is run in tiles that
    overlap by as far as the network looks; more pixels mean less work twice and more memory (about 150 bytes each). The
    part that a tile answers for does not shrink below that overlap: tiles of the shipped models' network may have 3.4
    million pixels, whatever this says. Where a model's own `halo` makes tiles of more than twice that and twice this,
    the job fails with `ImageTooLarge`."""
    max_queued: int = Field(default=100_000, ge=1)
    """Unfinished jobs at most; then submitting raises `QueueFull`."""
    max_queued_bytes: int = Field(default=32 * 1024**3, ge=1)
    """Bytes of the images of unfinished jobs at most; one job is always let in."""
    max_client_queued: int = Field(default=100_000, ge=1)
    """Unfinished jobs of one client (`client` of `submit`, such as a user's name) at most."""
    window: int = Field(default=16, ge=1, le=10_000)
    """Messages that Celery's queue of a stage holds at most. The other jobs stand in line, by priority and with clients
    taking turns: so much, and what workers have in hand, is before a job whose turn it is."""
    age_s: float = Field(default=60.0, gt=0)
    """A job in line counts as one priority higher for each of these seconds that it has waited, so that jobs of
    priority 0 are served some day."""
    max_attempts: int = Field(default=3, ge=1, le=100)
    """How often a stage is begun before the job becomes a dead letter."""
    retry_s: float = Field(default=1.0, ge=0)
    """Seconds before a second attempt, give or take half; twice that before the third, and so on, up to a minute. A
    job whose worker died is tried again at once."""
    retention_s: int = Field(default=86_400, ge=1)
    """Seconds that an ended job and its result are kept."""
    dead_retention_s: int = Field(default=604_800, ge=1)
    """Seconds that a dead letter is kept, with its image."""
    reuse: bool = True
    """Whether a job that another one like it (the same image, model and options) computes or has computed takes that
    one's result."""
    lease_s: float = Field(default=8.0, gt=0)
    """Seconds after which a stage whose worker has gone silent is given to another. Workers renew three times in it."""
    resend_s: float = Field(default=10.0, gt=0)
    """Seconds after which a job's message counts as lost, where it is no longer on its queue and no worker has claimed
    the job; then it is sent again. A job that waits in a long queue is not lost, however long that takes."""
    stage_limit_s: float = Field(default=120.0, gt=0)
    """Seconds that the clustering of one image may take; then its process is replaced and the job tried again. Celery
    remembers a job's limit for as long, half a kilobyte each."""
    grace_s: float = Field(default=30.0, gt=0)
    """Seconds that workers are given to finish what they have in hand when they are stopped."""
    task_events: bool = True
    """Whether Celery's events tell of every task, which is what Flower shows; they are a sixth of what a small job
    costs. `maskq run` sends none to a Redis of its own, unless Flower is asked for too."""
    trace: Path | None = None
    """A folder in which every worker process writes what it does when, in Chrome's trace format: see `maskq bench`."""
    flower_port: int = Field(default=5555, ge=0, le=65_535)
    """Flower's port on loopback in `maskq up`; 0 takes a free one."""
    gateway_port: int = Field(default=8000, ge=0, le=65_535)
    """The HTTP gateway's port on loopback in `maskq up`; 0 takes a free one."""
    state_dir: Path = Field(default_factory=lambda: user_state_path("maskq"))
    """Where `maskq up` keeps its Redis's data."""
    log_level: str = Field(default="WARNING", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """What workers log: `DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    @property
    def broker_file(self) -> Path:
        """In which `maskq up` leaves its broker's address, as long as it runs, for this user's other processes."""
        return self.state_dir / "broker-url"

    def with_broker(self) -> Self:
        """The same, with the broker of the `maskq up` that runs where they name none."""
        if self.broker_url is None and self.broker_file.is_file():
            return self.model_copy(update={"broker_url": self.broker_file.read_text().strip() or None})
        return self

    @property
    def model_folders(self) -> tuple[str, ...]:
        """Where to look for models before those that come with maskq."""
        return (self.models,) if self.models else ()
