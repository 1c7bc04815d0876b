"""What the docs say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from docs.generate import page
from maskq.producer.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_settings_page_is_the_one_the_settings_make():
    assert (ROOT / "docs" / "settings.md").read_text() == page(), "run `make docs`"


def test_every_setting_says_what_it_is():
    assert all(field.description for field in Settings.model_fields.values())


def test_links_between_pages_lead_somewhere():
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
