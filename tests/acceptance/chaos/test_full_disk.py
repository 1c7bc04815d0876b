"""Payloads as files on a disk that is full for a while: who brings work is told, and what was accepted is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskq import Client
from tests.acceptance.pictures import ten_pieces
from tests.conftest import until

from .disk import CannotBeFilled, Fill, disk
from .journal import read
from .load import Load, loaded, without_faults
from .report import unfit
from .world import World, world

#: How long the disk is full, seconds: jobs are tried again several times in it.
FULL_S = 8.0
WAIT_S = 120.0


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Fill]]:
    folder = tmp_path_factory.mktemp("disk") / "payloads"
    try:
        with disk(folder) as (what, fill):
            print(f"\nthe disk: {what}")
            yield folder, fill
    except CannotBeFilled as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, room: tuple[Path, Fill]) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), devices=1, store_url=f"file://{room[0]}") as made:
        yield made


def test_a_disk_that_is_full_for_a_while_costs_no_job(here: World, room: tuple[Path, Fill], tmp_path: Path) -> None:
    images = [path for path, _ in ten_pieces(tmp_path)]
    with Client(settings=here.settings) as client:
        reference = without_faults(client, images, WAIT_S)
        load = Load(client, images)
        with loaded(load, count=40, over_s=6):
            until(lambda: len(load.accepted) > 8)
            with room[1](here.mark):
                over = time.monotonic() + FULL_S
                until(lambda: time.monotonic() > over, FULL_S + 5)
        assert load.differing(reference, time.monotonic() + WAIT_S) == []
    until(here.all_listen, 60)
    stories = read(here.journal_folder)
    assert unfit(stories) == []
    assert load.refused or any(story.begun_again for story in stories.values()), "nobody noticed"
    print(f"refusals: {dict(Counter(type(refusal).__name__ for refusal in load.refused))}")
