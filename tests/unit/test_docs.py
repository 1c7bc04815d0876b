"""The documentation agrees with the code: settings, links, Python examples, commands and their options."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.generate import page
from maskq.cli.app import app
from maskq.producer.formats.registry import FORMATS
from maskq.producer.settings import Settings
from maskq.testing import FakeClient

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a language; shell commands have none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_the_settings_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == page(), "run `make docs`"


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_links_between_pages_have_a_target() -> None:
    for document in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("document", PAGES, ids=lambda document: document.name)
def test_python_examples_compile_and_import_names_that_exist(document: Path) -> None:
    for block in blocks(document, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "maskq":
                assert node.module in ("maskq", "maskq.testing"), f"{node.module} is not public"
                module = importlib.import_module(node.module)
                assert {alias.name for alias in node.names} <= set(module.__all__)


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient` is deprecated")
def test_the_examples_of_the_testing_page_run() -> None:
    namespace: dict[str, object] = {}
    for block in blocks(ROOT / "docs" / "testing.md", "python"):
        exec(compile(block, "docs/testing.md", "exec"), namespace)


def test_the_examples_of_many_images_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "a.png", tmp_path / "none.png", tmp_path / "b.png"]
    for path in paths[::2]:
        path.write_bytes(path.name.encode())
    examples = [block for block in blocks(ROOT / "docs" / "backend.md", "python") if "paths" in block]
    namespace: dict[str, Any] = {"client": FakeClient(), "paths": paths}
    for block in examples:
        exec(compile(block, "docs/backend.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert len(examples) == 2 and len(namespace["job_ids"]) == 2
    assert "none.png" in printed and printed.count("Result(") == 2


def test_the_examples_of_the_formats_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(ROOT / "docs" / "formats.md", "python"):
        exec(compile(block, "docs/formats.md", "exec"), namespace)
    names = ["cells.csv", "cells.ome.zarr", "coco.json", "image-2.geojson", "image.geojson", "regions.zip"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == names
    assert len(json.loads((tmp_path / "masks" / "coco.json").read_bytes())["images"]) == 2


def test_the_formats_page_has_every_format_and_its_file() -> None:
    table = (ROOT / "docs" / "formats.md").read_text().partition("## Polygons")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \|", table, re.MULTILINE)
    assert {name for name, _ in rows} == set(FORMATS)
    for name, files in rows:
        ending = FORMATS[name].folder_ending or next(iter(FORMATS[name].media_types))
        assert f"`NAME{ending}`" in files


@pytest.mark.parametrize("document", PAGES, ids=lambda document: document.name)
def test_commands_and_their_options_exist(document: Path) -> None:
    for arguments in maskq_commands(document):
        command: Any = get_command(app)
        while getattr(command, "commands", None) and arguments and not arguments[0].startswith("-"):
            name, *arguments = arguments
            assert name in command.commands, f"{document.name}: no command {name}"
            command = command.commands[name]
        known = {"--help", "-h"}.union(*(parameter.opts + parameter.secondary_opts for parameter in command.params))
        used = {argument.partition("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)}
        assert used <= known, f"{document.name}: {command.name}"


def maskq_commands(document: Path) -> Iterator[list[str]]:
    """The arguments of each `maskq` command in a page's shell blocks."""
    for block in blocks(document, ""):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            for is_operator, words in groupby(lexer, lambda word: set(word) <= set("|&;<>()")):
                command = [word for word in words if not re.match(r"[A-Z_]+=", word)]
                if not is_operator and command and Path(command[0]).name == "maskq":
                    yield command[1:]
