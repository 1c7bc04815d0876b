"""What others name their jobs and files does not steer the terminal that shows it."""

from __future__ import annotations

import io

import pytest
from rich.text import Text

from maskq.cli.terminal import PlainTable, PrintableConsole

NASTY = "a\x1b]0;title\x07\x1b[2Jb\x9b31m\r\u202egnp"


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("in_table", [True, False])
def test_control_characters_are_shown_and_not_sent(terminal: bool, in_table: bool) -> None:
    output = io.StringIO()
    console = PrintableConsole(file=output, force_terminal=terminal, width=200)
    table = PlainTable("job")
    table.add_row(NASTY)
    console.show(table) if in_table else console.print(NASTY, markup=False)
    shown = output.getvalue()
    plain = Text.from_ansi(shown).plain
    assert r"a\x1b]0;title" in plain
    assert r"\x9b31m" in plain and r"\u202egnp" in plain
    assert not {"\x07", "\x9b", "\r", "\u202e"} & set(shown)
    assert "\x1b]" not in shown and "\x1b[2J" not in shown


def test_styles_and_lines_stay() -> None:
    output = io.StringIO()
    console = PrintableConsole(file=output, force_terminal=True, width=80)
    console.print("[red]one[/]\ntwo\tthree äöü 細胞")
    assert "\x1b[31mone\x1b[0m\ntwo" in output.getvalue()
    assert "äöü 細胞" in output.getvalue()


JOB = "f47ac10b58cc4372a5670e02b2c3d479"
#: A job's row: its id, a name that is no markup, and an error.
ROW = (JOB, "[/b] :smile: [red]" + "a" * 100 + ".tif", "a long message " * 20)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("columns", [20, 60, 80, 500])
def test_a_table_cuts_nothing_and_never_splits_a_jobs_id(terminal: bool, columns: int) -> None:
    output = io.StringIO()
    console = PrintableConsole(file=output, force_terminal=terminal, width=columns)
    table = PlainTable("job", "image", "error", whole="job")
    table.add_row(*ROW)
    console.show(table)
    shown = Text.from_ansi(output.getvalue()).plain
    assert JOB in shown and "…" not in shown
    for column, cell in enumerate(ROW):
        cells = "".join(line.split("│")[1:-1][column] for line in shown.splitlines() if "│" in line)
        assert "".join(cells.split()) == "".join(cell.split())


def test_a_table_in_a_pipe_has_a_line_for_each_row_and_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output = io.StringIO()
    table = PlainTable("job", "image", "error", whole="job")
    for _ in range(3):
        table.add_row(*ROW)
    PrintableConsole(file=output).show(table)
    rows = [line for line in output.getvalue().splitlines() if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == [JOB] * 3
    assert all(ROW[1] in row and ROW[2].strip() in row for row in rows)
    assert "\x1b" not in output.getvalue()
