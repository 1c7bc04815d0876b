"""What others name their jobs and files does not steer the terminal that shows it."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from maskq.cli.terminal import PrintableConsole

NASTY = "a\x1b]0;title\x07\x1b[2Jb\x9b31m\r\u202egnp"


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("in_table", [True, False])
def test_control_characters_are_shown_and_not_sent(terminal: bool, in_table: bool) -> None:
    output = io.StringIO()
    console = PrintableConsole(file=output, force_terminal=terminal, width=200)
    table = Table("job")
    table.add_row(NASTY)
    console.print(table if in_table else NASTY, markup=False)
    shown = output.getvalue()
    plain = Text.from_ansi(shown).plain
    assert r"a\x1b]0;title" in plain
    if not in_table:  # a table cuts the cell at the width that rich expects, without the characters that it strips
        assert r"\x9b31m" in plain and r"\u202egnp" in plain
    assert not {"\x07", "\x9b", "\r", "\u202e"} & set(shown)
    assert "\x1b]" not in shown and "\x1b[2J" not in shown


def test_styles_and_lines_stay() -> None:
    output = io.StringIO()
    console = PrintableConsole(file=output, force_terminal=True, width=80)
    console.print("[red]one[/]\ntwo\tthree äöü 細胞")
    assert "\x1b[31mone\x1b[0m\ntwo" in output.getvalue()
    assert "äöü 細胞" in output.getvalue()
