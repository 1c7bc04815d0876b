"""The models that there are, in a user's folders or URLs and in this package: what `nuclei` and `nuclei@3` mean.

A location holds a model as `NAME/`, and more versions of it as `NAME/VERSION/`; both may stand side by side. The
user's locations come before the package. `NAME` is the highest version in the first location that has the name;
`NAME@VERSION` is that version, wherever it is. Names come out of listings only: what a job asks for is compared with
them and never becomes a path.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidModel, ModelExists, SegmentationError, UnknownModel
from .spec import SPEC, ModelSpec, read_spec
from .storage import Location, names, place

log = logging.getLogger(__name__)

#: The models that come with the package.
SHIPPED = Path(__file__).parents[1] / "pretrained"
_NAME, _VERSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}"), re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class RegisteredModel:
    """A model's folder that can be read."""

    spec: ModelSpec
    place: Location


@dataclass(frozen=True)
class BrokenModel:
    """A model's folder that can't."""

    name: str
    #: None where only the folder's unread spec could tell.
    version: int | None
    place: Location
    reason: str


class ModelRegistry:
    """Looks models up. What it found counts for `again_s` seconds; then it looks again, so new versions are seen.

    Raises `InvalidLocation` for a folder that can't be, and what fsspec raises where a URL can't be reached; through
    such an outage, a model that was found before stays found. Threads may share it.
    """

    def __init__(self, folders: Iterable[str | Path] = (), again_s: float = 2.0) -> None:
        self._locations = [*map(place, folders), SHIPPED]
        self._again_s = again_s
        self._found: dict[str, tuple[float, RegisteredModel]] = {}

    def find(self, asked: str) -> RegisteredModel:
        """The model that `NAME` or `NAME@VERSION` means. Raises `UnknownModel`, `InvalidModel`.

        A version that is broken is passed over where another one answers to what was asked.
        """
        now = time.monotonic()
        since, found = self._found.get(asked, (float("-inf"), None))
        if found is None or now - since >= self._again_s:
            try:
                found = self._look(asked)
            except SegmentationError:
                self._found.pop(asked, None)
                raise
            except Exception as error:
                if found is None:
                    raise
                log.warning("%s stays what it was: its folder can't be looked at now: %s", asked, error)
            self._found[asked] = now, found
        return found

    def everything(self) -> list[RegisteredModel | BrokenModel]:
        """Every version that can be asked for, and every folder that is broken, by name and version."""
        found: dict[tuple[str, int, str], RegisteredModel | BrokenModel] = {}
        for location in self._locations:
            for name in _names(location):
                for one in _versions(location / name):
                    if isinstance(one, BrokenModel):
                        found[name, one.version or 0, str(one.place)] = one
                    else:
                        found.setdefault((name, one.spec.version, ""), one)
        return [found[key] for key in sorted(found)]

    def _look(self, asked: str) -> RegisteredModel:
        name, at, tail = asked.partition("@")
        version = int(tail) if _VERSION.fullmatch(tail) else None
        broken: list[BrokenModel] = []
        for location in self._locations if bool(at) == (version is not None) else ():
            if name not in _names(location):
                continue
            fitting = [one for one in _versions(location / name) if version in (None, _version(one))]
            whole = [one for one in fitting if isinstance(one, RegisteredModel)]
            broken += [one for one in fitting if isinstance(one, BrokenModel)]
            if whole:
                return max(whole, key=lambda one: one.spec.version)
            if broken and version is None:
                break  # the package's model of that name is not what is meant
        if broken:
            raise InvalidModel(f"{asked}: {broken[0].reason}")
        raise UnknownModel(f"no model {asked!r}; there are: {self._known(name) or 'none'}")

    def _known(self, name: str) -> str:
        """The versions of the name if it has any, else all names."""
        specs = [found.spec for found in self.everything() if isinstance(found, RegisteredModel)]
        versions = [spec.ref for spec in specs if spec.name == name]
        return ", ".join(versions or sorted({spec.name for spec in specs}))


def _names(location: Location) -> list[str]:
    return sorted(filter(_NAME.fullmatch, names(location)))


def _version(one: RegisteredModel | BrokenModel) -> int | None:
    return one.spec.version if isinstance(one, RegisteredModel) else one.version


def _versions(folder: Location) -> Iterator[RegisteredModel | BrokenModel]:
    """What stands in the folder of one name: `model.toml` itself, and numbered folders."""
    try:
        inside = names(folder)
    except InvalidModel as error:
        yield BrokenModel(folder.name, None, folder, str(error))
        return
    if SPEC in inside:
        yield _at(folder, folder.name, None)
    for number in sorted(map(int, filter(_VERSION.fullmatch, inside))):
        yield _at(folder / str(number), folder.name, number)


def _at(folder: Location, name: str, version: int | None) -> RegisteredModel | BrokenModel:
    try:
        spec = read_spec(folder)
    except InvalidModel as error:
        return BrokenModel(name, version, folder, str(error))
    if spec.name != name or version not in (None, spec.version):
        wanted = name if version is None else f"{name}@{version}"
        return BrokenModel(name, version, folder, f"{folder / SPEC} says {spec.ref} where {wanted} stands")
    return RegisteredModel(spec, folder)


def refuse_existing(folder: Path, name: str, version: int, own: Path | None = None) -> None:
    """Raise `ModelExists` where `folder` has that version already, as `NAME/` or as `NAME/VERSION/`.

    A spec that can't be read counts as the version of its folder's number. `own` is a model's folder that does not
    count: the one that is being written anew.
    """
    for one in _versions(folder / name):
        if one.place != own and _version(one) == version and SPEC in names(one.place):
            raise ModelExists(
                f"{one.place}: there is a model already, {name}@{version}; give the new one another version"
            )


def find(name: str, folders: Iterable[str | Path] = ()) -> Location:
    """The folder that a name means. Raises `UnknownModel`, `InvalidModel`."""
    return ModelRegistry(folders).find(name).place
