"""Finding models by name in folders, URLs and the package, while models are added, changed or broken."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import fsspec
import pytest

from maskq.segmentation.errors import InvalidLocation, InvalidModel, ModelExists, UnknownModel
from maskq.segmentation.models.registry import BrokenModel, ModelRegistry, refuse_existing
from maskq.segmentation.models.spec import ModelSpec, read_card, read_weights, write_model
from maskq.segmentation.models.storage import Location, list_names

#: The models that come with the package.
NUCLEI, PHASE = "nuclei@3", "phase-contrast@1"
WEIGHTS = b"weights, as far as a folder can tell"


def put(folder: Path, ref: str, *, version_folder: bool = True, weights: bytes = WEIGHTS, **spec: object) -> Path:
    """Write the model `NAME@VERSION` into `NAME/VERSION`, or into `NAME`."""
    name, _, version = ref.partition("@")
    location = folder / name / version if version_folder else folder / name
    write_model(location, ModelSpec.model_validate({"name": name, "version": int(version)} | spec), weights)
    return location


def refs(registry: ModelRegistry) -> list[str]:
    return [
        f"{model.name} broken" if isinstance(model, BrokenModel) else model.spec.ref for model in registry.list_models()
    ]


# Names


def test_a_name_means_its_highest_version_and_a_label_that_one(tmp_path: Path) -> None:
    put(tmp_path, "cells@1", version_folder=False)
    for version in (2, 10, 9):
        put(tmp_path, f"cells@{version}")
    registry = ModelRegistry([tmp_path])
    assert registry.find("cells").spec.version == 10
    assert [registry.find(f"cells@{n}").spec.version for n in (1, 2, 9)] == [1, 2, 9]
    assert registry.find("cells@2").location == tmp_path / "cells" / "2"


def test_a_users_model_goes_before_the_packages_even_where_that_is_newer(tmp_path: Path) -> None:
    put(tmp_path / "mine", "cells@1")
    put(tmp_path / "theirs", "cells@3")
    registry = ModelRegistry([tmp_path / "mine", tmp_path / "theirs"])
    assert registry.find("cells").spec.version == 1
    assert registry.find("cells@3").location == tmp_path / "theirs" / "cells" / "3"


def test_the_shipped_version_can_be_asked_for_beside_a_users_own(tmp_path: Path) -> None:
    put(tmp_path, "nuclei@7")
    registry = ModelRegistry([tmp_path])
    assert registry.find("nuclei").spec.version == 7
    assert registry.find(NUCLEI).spec.licence == "Apache-2.0"
    assert refs(registry) == [NUCLEI, "nuclei@7", PHASE]


def test_what_is_only_on_its_way_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "nuclei").mkdir()
    (tmp_path / "nuclei" / "checkpoint.pt").touch()
    assert ModelRegistry([tmp_path]).find("nuclei").spec.ref == NUCLEI


@pytest.mark.parametrize(
    "ref", ["cells@0", "cells@01", "cells@", "cells@1@1", "cells@-1", "cells@1.0", "@1", "cells@x"]
)
def test_an_odd_version_is_an_unknown_model(tmp_path: Path, ref: str) -> None:
    put(tmp_path, "cells@1")
    with pytest.raises(UnknownModel, match="there are: "):
        ModelRegistry([tmp_path]).find(ref)


def test_an_unknown_version_is_answered_with_those_there_are(tmp_path: Path) -> None:
    for version in (1, 2):
        put(tmp_path, f"cells@{version}")
    with pytest.raises(UnknownModel, match="no model 'cells@3'; there are: cells@1, cells@2$"):
        ModelRegistry([tmp_path]).find("cells@3")


@pytest.mark.parametrize("ref", ["../secret@1", "cells/../../secret", "cells/1", "../secret", "cells@../1", "."])
def test_a_name_is_never_a_path(tmp_path: Path, ref: str) -> None:
    put(tmp_path / "mine", "cells@1")
    put(tmp_path, "secret@1")
    with pytest.raises(UnknownModel):
        ModelRegistry([tmp_path / "mine"]).find(ref)


# Changes


def test_a_new_version_is_seen_without_a_new_registry(tmp_path: Path) -> None:
    registry = ModelRegistry([tmp_path], refresh_s=0)
    put(tmp_path, "cells@1")
    assert registry.find("cells").spec.version == 1
    put(tmp_path, "cells@2")
    assert registry.find("cells").spec.version == 2
    assert registry.find("cells@1").spec.version == 1


def test_a_version_whose_weights_change_has_another_spec(tmp_path: Path) -> None:
    registry = ModelRegistry([tmp_path], refresh_s=0)
    put(tmp_path, "cells@1")
    before = registry.find("cells").spec
    put(tmp_path, "cells@1", weights=b"better")
    assert registry.find("cells").spec.sha256 != before.sha256


def test_what_was_found_is_not_looked_for_again_at_once(tmp_path: Path) -> None:
    registry = ModelRegistry([tmp_path], refresh_s=1000)
    put(tmp_path, "cells@1")
    registry.find("cells")
    put(tmp_path, "cells@2")
    assert registry.find("cells").spec.version == 1
    with pytest.raises(UnknownModel):
        registry.find("worms")
    put(tmp_path, "worms@1")
    assert registry.find("worms").spec.version == 1  # failures are not cached


class Outage:
    """Makes listings fail with `error` while it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        monkeypatch.setattr("maskq.segmentation.models.registry.list_names", self._names)

    def _names(self, folder: Location) -> set[str]:
        if self.error:
            raise self.error
        return list_names(folder)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), ConnectionError("reset"), TimeoutError()])
def test_through_an_outage_what_was_found_stays_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    registry, outage = ModelRegistry([tmp_path], refresh_s=0), Outage(monkeypatch)
    put(tmp_path, "cells@1")
    registry.find("cells")
    outage.error = error
    assert registry.find("cells").spec.version == 1
    with pytest.raises(type(error)):
        registry.find("cells@1")  # not requested before the outage
    outage.error = None
    put(tmp_path, "cells@2")
    assert registry.find("cells").spec.version == 2


def test_what_was_taken_away_does_not_come_back_in_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, outage = ModelRegistry([tmp_path], refresh_s=0), Outage(monkeypatch)
    location = put(tmp_path, "cells@1")
    registry.find("cells")
    location.rename(tmp_path / "GONE")
    with pytest.raises(UnknownModel):
        registry.find("cells")
    outage.error = TimeoutError()
    with pytest.raises(TimeoutError):
        registry.find("cells")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_disk_that_fails_for_a_while_does_not_make_a_model_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(tmp_path, "cells@1")

    def fail(*_: object) -> None:
        raise OSError(number, "for a while")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OSError, match="for a while"):
        ModelRegistry([tmp_path]).find("cells")


# Broken models


def test_a_broken_folder_hides_no_other(tmp_path: Path) -> None:
    put(tmp_path, "cells@1")
    for name in ("algae", "zebra"):
        (put(tmp_path, f"{name}@1", version_folder=False) / "model.toml").write_text("name = ")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    registry = ModelRegistry([tmp_path])
    assert refs(registry) == ["algae broken", "cells@1", "loop broken", NUCLEI, PHASE, "zebra broken"]
    with pytest.raises(InvalidModel, match=r"zebra: .*zebra/model\.toml: Invalid value"):
        registry.find("zebra")


def test_a_broken_version_is_passed_over_until_it_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "cells@1")
    (tmp_path / "cells" / "2").mkdir()
    registry = ModelRegistry([tmp_path])
    assert registry.find("cells").spec.version == 1
    with pytest.raises(InvalidModel, match=r"cells@2: .*cells/2/model\.toml: .*No such file"):
        registry.find("cells@2")


def test_a_users_broken_model_is_not_replaced_by_the_packages(tmp_path: Path) -> None:
    (put(tmp_path, "nuclei@7", version_folder=False) / "model.toml").write_text("")
    with pytest.raises(InvalidModel, match="nuclei"):
        ModelRegistry([tmp_path]).find("nuclei")
    assert ModelRegistry([tmp_path]).find(NUCLEI).spec.licence == "Apache-2.0"


def test_a_spec_of_another_name_or_version_than_its_folders_is_broken(tmp_path: Path) -> None:
    put(tmp_path, "cells@1", version_folder=False).rename(tmp_path / "worms")
    (tmp_path / "mites").mkdir()
    put(tmp_path, "mites@3").rename(tmp_path / "mites" / "4")
    broken = [model.reason for model in ModelRegistry([tmp_path]).list_models() if isinstance(model, BrokenModel)]
    assert broken == [
        f"{tmp_path}/mites/4/model.toml says mites@3 where mites@4 stands",
        f"{tmp_path}/worms/model.toml says cells@1 where worms stands",
    ]


def test_a_spec_without_end_is_not_read(tmp_path: Path) -> None:
    (put(tmp_path, "cells@1") / "model.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(InvalidModel, match="over the limit of 1,048,576 bytes"):
        ModelRegistry([tmp_path]).find("cells")


# URLs


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL with two versions of a model."""
    location = f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/away"
    for version in (1, 2):
        put(tmp_path / "here", f"cells@{version}")
    (tmp_path / "here" / "cells" / "2" / "README.md").write_text("# cells")
    fs, root = fsspec.core.url_to_fs(location, auto_mkdir=True)
    fs.put(f"{tmp_path}/here/", f"{root}/", recursive=True)
    return location


def test_a_url_is_as_good_as_a_folder(url: str) -> None:
    registry = ModelRegistry([url])
    model = registry.find("cells")
    assert refs(registry) == ["cells@1", "cells@2", NUCLEI, PHASE]
    assert read_weights(model.location) == WEIGHTS and read_card(model.location) == "# cells"
    assert str(model.location).endswith("/cells/2") and "://" in str(model.location)
    with pytest.raises(UnknownModel):
        registry.find("worms")
    with pytest.raises(InvalidModel, match="No such file|cells/1/x"):
        read_weights(registry.find("cells@1").location / "x")


def test_weights_behind_a_url_are_checked(url: str) -> None:
    fs, root = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{root}/cells/2/weights.safetensors", b"others")
    with pytest.raises(InvalidModel, match=r"cells/2/weights\.safetensors: its sha256 is"):
        read_weights(ModelRegistry([url]).find("cells").location)


def test_a_new_version_behind_a_url_is_seen(url: str, tmp_path: Path) -> None:
    registry = ModelRegistry([url], refresh_s=0)
    assert registry.find("cells").spec.version == 2
    fs, root = fsspec.core.url_to_fs(url)
    fs.put(f"{put(tmp_path, 'cells@3')}/", f"{root}/cells/3/", recursive=True)
    assert registry.find("cells").spec.version == 3


@pytest.mark.parametrize(
    ("url", "complaint"),
    [("foo://bucket/models", "foo://bucket/models: Protocol not known: foo"), ("s3://bucket/models", "s3fs")],
)
def test_a_url_that_nothing_here_can_open_is_told_with_what_to_do(
    url: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(InvalidLocation, match=complaint):
        ModelRegistry([url])


def test_a_url_that_is_not_there_has_no_models(tmp_path: Path) -> None:
    assert refs(ModelRegistry([f"memory://{tmp_path.name}-nowhere"])) == [NUCLEI, PHASE]


# Writing a model


def test_a_version_that_is_there_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    flat, numbered = put(tmp_path, "cells@1", version_folder=False), put(tmp_path, "cells@2")
    (numbered / "model.toml").write_text("name = ")
    for version, location in ((1, flat), (2, numbered)):
        with pytest.raises(ModelExists, match=rf"^{location}: there is a model already, cells@{version}"):
            refuse_existing(tmp_path, "cells", version)
        refuse_existing(tmp_path, "cells", version, ignore=location)
    (tmp_path / "cells" / "3").mkdir()  # of an interrupted write
    refuse_existing(tmp_path, "cells", 3)
    refuse_existing(tmp_path, "nuclei", 2)  # a user's model precedes the package's
    refuse_existing(tmp_path / "nowhere", "cells", 1)
