"""What `maskq models list`, `show` and `check` do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from maskq.segmentation.errors import InvalidModel, SegmentationError
from maskq.segmentation.models.registry import BrokenModel, ModelRegistry, RegisteredModel
from maskq.segmentation.models.spec import SPEC, read_card, read_spec
from maskq.segmentation.models.storage import Location

console = Console()


def list_(folders: Iterable[str], as_json: bool) -> int:
    """Every version of every model; a folder that can't be read is shown with its reason and hides no other."""
    found = ModelRegistry(folders).everything()
    if as_json:
        for one in found:
            print(json.dumps(_broken(one) if isinstance(one, BrokenModel) else one.spec.model_dump()))
        return 0
    table = Table("model", "what it is for", "input", "trained on", "licence")
    for one in found:
        if isinstance(one, BrokenModel):
            table.add_row(_label(one), f"[red]broken: {escape(one.reason)}")
        else:
            wants = f"{one.spec.channels}, {one.spec.normalisation}"
            told = one.spec.summary, wants, one.spec.trained_on, one.spec.licence
            table.add_row(_label(one), *map(escape, told))
    console.print(table)
    return 0


def show(name: str, folders: Iterable[str], as_json: bool) -> int:
    """All that a model's folder says: its spec and its card."""
    found = ModelRegistry(folders).find(name)
    spec, card = found.spec.model_dump(), read_card(found.place)
    if as_json:
        print(json.dumps(spec | {"folder": str(found.place), "card": card}))
        return 0
    table = Table(found.spec.ref, escape(str(found.place)), show_header=True)
    for field, value in spec.items():
        table.add_row(field, escape(str(value)))
    console.print(table)
    if card:
        console.print(Markdown(card))
    return 0


def check(models: list[str], folders: Iterable[str], as_json: bool) -> int:
    """Whether models are whole and run: by name, by folder, or all of them. Status 1 if any is not."""
    well = True
    for said, reason in _checked(models, ModelRegistry(folders)):
        well = well and not reason
        if as_json:
            print(json.dumps({"model": said, "ok": not reason, "reason": reason}))
        else:
            found = f"[red]{escape(reason)}" if reason else "[green]whole, and runs"
            console.print(f"{escape(said)}: {found}", soft_wrap=True)
    return 0 if well else 1


def _checked(models: list[str], repository: ModelRegistry) -> Iterable[tuple[str, str]]:
    """What was checked, and what is wrong with it: nothing, where it is well."""
    for one in repository.everything() if not models else ():
        yield _label(one), one.reason if isinstance(one, BrokenModel) else _wrong(one.place)
    for said in models:
        folder = Path(said)
        if (folder / SPEC).is_file():
            yield said, _wrong(folder)
            continue
        try:
            found = repository.find(said)
        except SegmentationError as error:
            yield said, str(error)
        else:
            yield found.spec.ref, _wrong(found.place)


def _wrong(folder: Location) -> str:
    try:
        _try(folder)
    except SegmentationError as error:
        return str(error)
    return ""


def _try(folder: Location) -> None:
    """Load the model and run it on two small inputs of noise. Raises `InvalidModel`."""
    import numpy as np

    from maskq.segmentation.segmenter import Segmenter

    spec = read_spec(folder)
    noise = np.random.default_rng(0).random((2, spec.channel_count, 64, 96), np.float32)
    fields = Segmenter.load(folder).forward(noise)
    if fields.shape != (2, 3 + spec.bandwidths, 64, 96) or not np.isfinite(fields).all():
        raise InvalidModel(f"{folder}: its fields of noise, {fields.shape}, are not all finite numbers")


def _label(one: RegisteredModel | BrokenModel) -> str:
    if isinstance(one, RegisteredModel):
        return one.spec.ref
    return one.name if one.version is None else f"{one.name}@{one.version}"


def _broken(one: BrokenModel) -> dict[str, object]:
    return {"name": one.name, "version": one.version, "broken": one.reason, "folder": str(one.place)}
