"""The model registry: finds the models in a user's folders or URLs and in this package by name.

A location contains a model as `NAME/`, and further versions of it as `NAME/VERSION/`; it may have both. The user's
locations come before the package. `NAME` means the highest version in the first location that has the name;
`NAME@VERSION` means that version in the first location that has it. A requested name is only compared with the names of
listings; it never becomes a path.
"""

import logging
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidModel, ModelExists, SegmentationError, UnknownModel
from .spec import SPEC, ModelSpec, read_spec
from .storage import Location, list_names, open_location

log = logging.getLogger(__name__)

#: The folder of the models that come with the package.
SHIPPED = Path(__file__).parents[1] / "pretrained"
_NAME, _VERSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}"), re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class RegisteredModel:
    """A model's folder with a valid spec."""

    spec: ModelSpec
    location: Location


@dataclass(frozen=True)
class BrokenModel:
    """A model's folder without a valid spec."""

    name: str
    #: None if only the unreadable spec has it.
    version: int | None
    location: Location
    reason: str


class ModelRegistry:
    """Finds models by name. Results are cached for `refresh_s` seconds, so new versions are seen after that time.

    The constructor raises `InvalidLocation` for a folder that can't be opened. Methods raise fsspec's errors if a URL
    can't be reached; during such an outage, `find` keeps returning the models that it found before. Threads may share
    a registry.
    """

    def __init__(self, folders: Iterable[str | Path] = (), refresh_s: float = 2.0) -> None:
        self._locations = [*map(open_location, folders), SHIPPED]
        self._refresh_s = refresh_s
        #: By requested reference: when it was looked up, on the monotonic clock, and the result.
        self._cache: dict[str, tuple[float, RegisteredModel]] = {}

    def find(self, ref: str) -> RegisteredModel:
        """The model of `NAME` or `NAME@VERSION` (a valid version, if any). Raises `UnknownModel`, `InvalidModel`."""
        now = time.monotonic()
        cached_at, model = self._cache.get(ref, (float("-inf"), None))
        if model is None or now - cached_at >= self._refresh_s:
            try:
                model = self._look_up(ref)
            except SegmentationError:
                self._cache.pop(ref, None)
                raise
            except Exception as error:
                if model is None:
                    raise
                log.warning("keeping the cached model %s: its folder can't be read now: %s", ref, error)
            self._cache[ref] = now, model
        return model

    def list_models(self) -> list[RegisteredModel | BrokenModel]:
        """Every version that can be requested, and every broken folder, by name and version."""
        models: dict[tuple[str, int, str], RegisteredModel | BrokenModel] = {}
        for location in self._locations:
            for name in _model_names(location):
                for model in _versions(location / name):
                    if isinstance(model, BrokenModel):
                        models[name, model.version or 0, str(model.location)] = model
                    else:
                        models.setdefault((name, model.spec.version, ""), model)
        return [models[key] for key in sorted(models)]

    def _look_up(self, ref: str) -> RegisteredModel:
        name, at, suffix = ref.partition("@")
        version = int(suffix) if _VERSION.fullmatch(suffix) else None
        broken: list[BrokenModel] = []
        for location in self._locations if bool(at) == (version is not None) else ():
            if name not in _model_names(location):
                continue
            matching = [model for model in _versions(location / name) if version in (None, _version(model))]
            valid = [model for model in matching if isinstance(model, RegisteredModel)]
            broken += [model for model in matching if isinstance(model, BrokenModel)]
            if valid:
                return max(valid, key=lambda model: model.spec.version)
            if broken and version is None:
                break  # the package's model of that name would be another model
        if broken:
            raise InvalidModel(f"{ref}: {broken[0].reason}")
        raise UnknownModel(f"no model {ref!r}; there are: {self._known(name) or 'none'}")

    def _known(self, name: str) -> str:
        """The versions of the name if it has any, else all names."""
        specs = [model.spec for model in self.list_models() if isinstance(model, RegisteredModel)]
        versions = [spec.ref for spec in specs if spec.name == name]
        return ", ".join(versions or sorted({spec.name for spec in specs}))


def _model_names(location: Location) -> list[str]:
    return sorted(filter(_NAME.fullmatch, list_names(location)))


def _version(model: RegisteredModel | BrokenModel) -> int | None:
    return model.spec.version if isinstance(model, RegisteredModel) else model.version


def _versions(folder: Location) -> Iterator[RegisteredModel | BrokenModel]:
    """The models in the folder of one name: its own `model.toml`, and the numbered folders."""
    try:
        entries = list_names(folder)
    except InvalidModel as error:
        yield BrokenModel(folder.name, None, folder, str(error))
        return
    if SPEC in entries:
        yield _open_model(folder, folder.name, None)
    for number in sorted(map(int, filter(_VERSION.fullmatch, entries))):
        yield _open_model(folder / str(number), folder.name, number)


def _open_model(folder: Location, name: str, version: int | None) -> RegisteredModel | BrokenModel:
    try:
        spec = read_spec(folder)
    except InvalidModel as error:
        return BrokenModel(name, version, folder, str(error))
    if spec.name != name or version not in (None, spec.version):
        expected = name if version is None else f"{name}@{version}"
        return BrokenModel(name, version, folder, f"{folder / SPEC} says {spec.ref} where {expected} stands")
    return RegisteredModel(spec, folder)


def refuse_existing(folder: Path, name: str, version: int, ignore: Path | None = None) -> None:
    """Raise `ModelExists` if `folder` has that version already, as `NAME/` or as `NAME/VERSION/`.

    A folder with an unreadable spec counts as the version of its number. `ignore` is a model's folder that does not
    count: the one to be overwritten.
    """
    for model in _versions(folder / name):
        if model.location != ignore and _version(model) == version and SPEC in list_names(model.location):
            raise ModelExists(
                f"{model.location}: there is a model already, {name}@{version}; give the new one another version"
            )


def find(name: str, folders: Iterable[str | Path] = ()) -> Location:
    """The folder of the model that a name refers to. Raises `UnknownModel`, `InvalidModel`."""
    return ModelRegistry(folders).find(name).location
