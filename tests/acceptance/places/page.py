"""docs/places.md, and what its tests share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import png

PAGE = (Path(__file__).parents[3] / "docs" / "places.md").read_text()
IMAGE = png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
WAIT_S = 120


def block(heading: str, language: str) -> str:
    """The first code block of a section in a language; shell commands and Redis's have none."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def commands(heading: str) -> list[str]:
    """The indented shell commands of a section."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(
        r"^    (\S.*)$", re.sub(r"^```.*?^```", "", section, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )


def users() -> list[list[str]]:
    """The page's commands that make Redis's users, each as its words."""
    return [
        rule.split() for rule in re.split(r"^(?=ACL )", block("Other people's Redis", ""), flags=re.MULTILINE) if rule
    ]


def answers(redis: Any) -> bool:
    """Whether Redis can be reached."""
    try:
        return bool(redis.ping())
    except Exception:
        return False
