"""Every setting: an environment variable `MASKQ_<NAME>`, read at the edges and passed down.

An empty variable counts as unset.
"""

import fcntl
from pathlib import Path
from typing import Any, Self

from platformdirs import user_state_path
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import InvalidJob

_PREFIX = "MASKQ_"
#: The file in `state_dir` that a running `maskq up` keeps locked.
LOCK = "lock"


def _is_unlocked(file: Path) -> bool:
    """Whether the file exists and no process holds its lock."""
    try:
        with file.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _half_the_cores() -> int:
    from celery.utils.sysinfo import cpu_budget

    return max(1, int(cpu_budget().count) // 2)


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"{_PREFIX}{field.upper()}"


class ClientSettings(BaseSettings):
    """The settings that a client needs: the broker, the store, and the bounds of jobs. It reads no others."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    broker_url: str | None = None
    """The Redis of jobs and messages, such as `redis://host:6379/0`. If unset, `maskq run` and `maskq up` start a
    private Redis; the other commands and `Client()` use the Redis of the `maskq up` that this user runs on this
    machine."""
    store_url: str = "redis"
    """Where images and results are stored: `redis` (the broker's Redis), or any fsspec URL that producers and workers
    can reach, such as `s3://bucket/maskq`."""
    max_bytes: int = Field(default=256 * 1024**2, ge=1)
    """Maximum size of an image file, bytes."""
    max_pixels: int = Field(default=100_000_000, ge=1)
    """Maximum size of an image, pixels."""
    max_queued: int = Field(default=100_000, ge=1)
    """Maximum number of unfinished jobs. Beyond it, submitting raises `QueueFull`."""
    max_queued_bytes: int = Field(default=32 * 1024**3, ge=1)
    """Maximum total size of the images of unfinished jobs, bytes. If there are no unfinished jobs, one of any size is
    accepted."""
    max_ended_bytes: int = Field(default=32 * 1024**3, ge=1)
    """Maximum total size of the images and results that ended jobs still have, bytes. Beyond it, images of ended jobs
    are dropped before their time, those of failed jobs first; if that is not enough, submitting raises `QueueFull`."""
    max_client_queued: int = Field(default=100_000, ge=1)
    """Maximum number of unfinished jobs of one client (`client` of `submit`, such as a user's name)."""
    max_client_work: int = Field(default=1_000_000_000_000, ge=1)
    """Maximum work of the unfinished jobs of one client: their images' pixels, with `tta` eight times as many. If it
    has no unfinished jobs, one of any size is accepted."""
    window: int = Field(default=16, ge=1, le=10_000)
    """Maximum number of messages in Celery's queue of a stage. All other jobs wait in the ledger, where they are
    ordered by priority and clients take turns. Only the window and the jobs in progress are ahead of a job whose turn
    it is."""
    age_s: float = Field(default=60.0, gt=0)
    """Priority aging, seconds: a waiting job counts as one priority higher for each such interval, so that jobs of
    priority 0 are served eventually."""
    max_attempts: int = Field(default=3, ge=1, le=100)
    """Maximum number of attempts at a stage. After the last one, the job becomes a dead letter."""
    retention_s: int = Field(default=86_400, ge=1)
    """How long an ended job and its result are kept, seconds."""
    dead_retention_s: int = Field(default=604_800, ge=1)
    """How long a dead letter and its image are kept, seconds."""
    failed_input_s: int = Field(default=600, ge=1)
    """How long the image of a job that failed by its own fault is kept, seconds."""
    reuse: bool = True
    """Whether jobs of one client with the same image, model and options are computed once: each is a job of its own,
    with a copy of the result. A new version of the model, or a changed one, is computed anew."""
    share_across_clients: bool = False
    """Whether jobs of different clients share their work as well. A client can then tell by the time whether another
    has submitted the same image."""
    lease_s: float = Field(default=8.0, gt=0)
    """Lease of a stage, seconds: if its worker does not renew the lease for this long, another worker takes over.
    Workers renew three times per lease."""
    stage_limit_s: float = Field(default=120.0, gt=0)
    """Time limit for the clustering of one image, seconds. After it, the process is replaced and the job is retried.
    For each job, Celery keeps half a kilobyte of memory for as long as this limit."""
    task_events: bool = True
    """Whether Celery sends the task events that Flower shows. They take a sixth of the time of a small job. If
    `maskq run` starts its own Redis, it sends them only with `--flower`."""
    state_dir: Path = Field(default_factory=lambda: user_state_path("maskq"))
    """The folder in which `maskq up` keeps its Redis's data."""

    @field_validator("*")
    @classmethod
    def _expand_home(cls, value: Any) -> Any:
        return value.expanduser() if isinstance(value, Path) else value

    @property
    def broker_file(self) -> Path:
        """The file with the broker's URL that a running `maskq up` provides for this user's other processes."""
        return self.state_dir / "broker-url"

    def with_broker(self) -> Self:
        """These settings; if they have no broker, with the broker of the running `maskq up`, if there is one.

        Raises `InvalidJob` if that `maskq up` was killed.
        """
        if self.broker_url is not None:
            return self
        try:
            url = self.broker_file.read_text().strip()
        except OSError:  # there is none, or another user's
            return self
        if _is_unlocked(self.state_dir / LOCK):
            raise InvalidJob(f"the `maskq up` with its data in {self.state_dir} was killed: start it again")
        return self.model_copy(update={"broker_url": url or None})


class Settings(ClientSettings):
    """All settings: those of clients, and those of workers, `maskq up` and the gateway."""

    models: str | None = None
    """A folder with models of your own, each in a subfolder of its name, or the fsspec URL of such a folder, such as
    `s3://bucket/models`. It is searched before the models that come with maskq."""
    model_memory: int = Field(default=1024**3, ge=0)
    """Size of a device process's LRU cache of model weights, bytes. The most recently used model stays loaded even if
    it is larger."""
    devices: str = "auto"
    """The devices to run, one process each: `cuda:0=on,cuda:1=auto`, `cuda=auto` (all GPUs), `cpu`, or `auto` (every
    GPU, or the CPU if there is none). After `=` comes the cudnn benchmark mode: `on` searches for the fastest
    convolutions of every new shape, `off` never searches, and `auto` (the default) searches for a shape that has come
    often enough to make the search worth its time. A `cpu` device ignores the mode. After `;` come options:
    `lanes=fixed` (only images of common shapes), `lanes=varied` (only the others) or `lanes=both`; `batch=16`;
    `precision=fp32`, `fp16` or `bf16`. An example: `cuda:0=on;lanes=fixed,cuda:1=off;lanes=varied`. `maskq devices`
    shows the hardware and the devices that this setting selects."""
    cluster_processes: int = Field(default_factory=_half_the_cores, ge=1, le=1024)
    """Processes of a CPU worker. Default: half the cores that this process may use, by its affinity and its container's
    quota."""
    device_threads: int = Field(default=0, ge=0, le=256)
    """Jobs that a device process handles concurrently: some fetch, decode and store while others are on the device. 0
    means two more than the cores of a `cpu` device (at least 4), and enough to fill four batches for a GPU."""
    torch_threads: int = Field(default=0, ge=0, le=1024)
    """Images that a `cpu` device processes in parallel, one thread each; a single image uses all threads. 0 means one
    per core."""
    batch_size: int = Field(default=8, ge=1, le=1024)
    """Maximum number of images, all of one shape, in a GPU batch; a device's own `batch=` overrides it. Batches have 1,
    2, 4, 8 … images. A batch that is too large for the GPU's memory is halved, and the device process remembers that. A
    `cpu` device does not batch: see `MASKQ_TORCH_THREADS`."""
    batch_wait_ms: float = Field(default=3.0, ge=0, le=1000)
    """Maximum time that an image on a GPU waits for others of its shape, milliseconds. It waits only while images of
    that shape arrive fast enough to fill more of the batch."""
    device_limit_s: float = Field(default=120.0, gt=0)
    """Time limit of one batch on a device, seconds. After it, the device counts as stuck and its process is
    replaced."""
    heartbeat_s: float = Field(default=12.0, gt=1)
    """Heartbeat timeout, seconds: a process that was ready and has been silent for this long is killed and replaced.
    Processes send a heartbeat once a second."""
    lane_s: float = Field(default=6.0, gt=0)
    """Lane failover timeout, seconds: a lane that no device has served for this long is taken over by the devices of
    the other lane, until a device serves it again."""
    max_planes: int = Field(default=1000, ge=1, le=10_000)
    """Maximum number of planes of a stack that one job segments. Decoded, they may have 16 times `MASKQ_MAX_BYTES`
    together."""
    tile_pixels: int = Field(default=20_000_000, ge=1)
    """Maximum number of pixels in one network input, and in all inputs of a batch together. A larger image is processed
    in tiles, which overlap by the network's receptive field. Larger tiles need more memory (about 150 bytes per pixel),
    but less is computed twice. The part of a tile that is kept is at least as wide as the overlap, so with the models
    that come with maskq tiles may have 3.4 million pixels whatever this setting is. A model with a larger `halo` may
    need larger tiles: if they exceed both 6.8 million pixels and twice this setting, the job fails with
    `ImageTooLarge`."""
    retry_s: float = Field(default=1.0, ge=0)
    """Back-off before the second attempt, seconds, with a jitter of ±50 %. It doubles with each further attempt, up to
    a minute. A job whose worker died is retried at once."""
    resend_s: float = Field(default=10.0, gt=0)
    """Age at which a job's message counts as lost, seconds, if it is no longer on its queue and no worker has claimed
    the job; it is then sent again. A job in a long queue does not count as lost, however long it waits."""
    grace_s: float = Field(default=30.0, gt=0)
    """Graceful shutdown: how long stopped workers may take to finish their jobs in progress, seconds."""
    trace: Path | None = None
    """A folder in which every worker process writes a timeline of its work in Chrome's trace format: see `maskq
    bench`."""
    redis_memory: int = Field(default=0, ge=0)
    """Maximum memory of the Redis that `maskq run` and `maskq up` start, bytes. When producers have filled nine tenths
    of it, submitting raises `StoreFull`. 0 means half of the memory that this process may use: the machine's, or its
    container's."""
    flower_port: int = Field(default=5555, ge=0, le=65_535)
    """Flower's port on loopback in `maskq up`; 0 picks a free one."""
    flower_basic_auth: str | None = None
    """`name:password`, without which Flower shows nothing but its metrics. The password may have any characters."""
    flower_unauthenticated_api: bool = False
    """Whether Flower's JSON under `/api` needs no login. Any page that is open in a browser which reaches Flower can
    then read it."""
    flower_hosts: str | None = None
    """The names by which Flower is reached, separated by commas, such as `flower.lab.example`; `*` is every name. It
    always answers to addresses, to names without a dot, and to its machine's name."""
    flower_url_prefix: str | None = None
    """The prefix of Flower's paths behind a proxy, such as `flower`."""
    flower_conf: Path | None = None
    """A configuration file of Flower, in Python, with any of its other options."""
    gateway_port: int = Field(default=8000, ge=0, le=65_535)
    """The HTTP gateway's port on loopback in `maskq up`; 0 picks a free one."""
    root_path: str = Field(default="", pattern=r"^((/[A-Za-z0-9._~-]+)+)?$")
    """The prefix of the gateway's paths that a proxy in front of it strips or passes on, such as `/maskq`: its links
    and its OpenAPI page begin with it. A trusted proxy's `X-Forwarded-Prefix` comes first."""
    trusted_proxies: str = "127.0.0.1"
    """The proxies whose `X-Forwarded-For`, `-Proto` and `-Prefix` the gateway believes: addresses and networks,
    separated by commas; `*` is everyone."""
    cors_origins: str = ""
    """The origins of web pages that may call the gateway from a browser (CORS), separated by commas, such as
    `https://lab.example`; `*` is every origin. By default none."""
    max_client_listeners: int = Field(default=64, ge=1, le=256)
    """Maximum number of requests of one address that wait at once for events or results of jobs, of the 256 that a
    gateway has. Of IPv6, all addresses of a network of 64 bits count as one."""
    log_level: str = Field(default="WARNING", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """Log level of the workers: `DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    @field_validator("flower_port", "gateway_port", mode="before")
    @classmethod
    def _ignore_service_links(cls, value: Any, info: ValidationInfo) -> Any:
        """The default instead of an address: Kubernetes sets `MASKQ_GATEWAY_PORT=tcp://10.96.0.12:8000` in every pod
        if a service is named maskq-gateway.
        """
        is_address = isinstance(value, str) and "://" in value
        return cls.model_fields[info.field_name or ""].default if is_address else value

    @property
    def model_folders(self) -> tuple[str, ...]:
        """The folders and URLs that are searched for models before those that come with maskq.

        Raises `InvalidJob` if the folder does not exist: its models would be unknown, or another's with their names.
        """
        if not self.models:
            return ()
        local = self.models.removeprefix("file://")
        if "://" in local or "::" in local:
            return (self.models,)
        folder = Path(local).expanduser()
        if not folder.is_dir():
            raise InvalidJob(f"MASKQ_MODELS: there is no folder {folder}; create it, or correct the path")
        return (str(folder),)
