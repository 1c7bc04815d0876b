"""Writes docs/settings.md from the settings where they are defined: `make docs`."""

from __future__ import annotations

import os
from pathlib import Path

from maskq.producer.settings import Settings

_HEAD = """# Settings

Every setting is an environment variable. Give producers, gateway and workers the same ones: `MASKQ_STORE_URL` has to
agree, and the bounds on queued jobs are those of whoever submits. This page is made from `producer/settings.py` by
`make docs`.

| variable | default | what it is |
|---|---|---|
"""
#: Defaults that depend on the machine, as people would say them.
_SPOKEN = {"cluster_processes": "half the cores", "state_dir": "the user's state folder"}


def page() -> str:
    """The page's text."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = _SPOKEN.get(name) or ("none" if field.default is None else f"`{field.default}`")
        rows.append(f"| `MASKQ_{name.upper()}` | {default} | {' '.join((field.description or '').split())} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    os.environ.pop("MASKQ_BROKER_URL", None)
    Path(__file__).with_name("settings.md").write_text(page())
