"""Generates docs/settings.md from `producer/settings.py`, and the tables of docs/images.md: `make docs`."""

from __future__ import annotations

import os
from pathlib import Path

from docs import image_formats
from maskq.producer.settings import Settings

_HEAD = """# Settings

Every setting is an environment variable. Use the same settings for producers, gateway and workers: `MASKQ_STORE_URL`
must be equal, and the limits of queued jobs are those of the submitting process. `make docs` generates this page from
`producer/settings.py`.

| variable | default | description |
|---|---|---|
"""
#: Defaults that depend on the machine, in words.
_IN_WORDS = {"cluster_processes": "half the cores", "state_dir": "the user's state folder"}


def page() -> str:
    """The text of docs/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = _IN_WORDS.get(name) or ("none" if field.default is None else f"`{field.default}`")
        rows.append(f"| `MASKQ_{name.upper()}` | {default} | {' '.join((field.description or '').split())} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    os.environ.pop("MASKQ_BROKER_URL", None)
    Path(__file__).with_name("settings.md").write_text(page())
    image_formats.PAGE.write_text(image_formats.page())
