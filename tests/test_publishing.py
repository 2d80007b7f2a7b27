"""Between a build's last step and its publication: a kill there costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tiebreak.store import ARTEFACT, Artefact, Store, key, read_artefact

INPUTS = {"data": "d1", "lr": 0.1}
KEY = key("sft", INPUTS)


def write(work: Path) -> None:
    for name in ("deep", "checkpoints"):
        (work / name).mkdir(exist_ok=True)
    (work / "deep" / "a.txt").write_text("abc")


def killed(*given: object, **named: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Callable[[Path], None]], Artefact]:
    def build(builder: Callable[[Path], None]) -> Artefact:
        return Store(tmp_path).build("sft", KEY, INPUTS, builder, scratch=("checkpoints",))

    return build


@pytest.mark.parametrize("place", ["_file_hash", "os.replace"])
def test_checkpoints_stay_until_the_rest_is_on_disk(
    place: str, tmp_path: Path, build: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Store(tmp_path).work("sft", KEY)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"tiebreak.store.{place}", killed)
        build(write)
    assert (work / "checkpoints").is_dir() and not (work / ARTEFACT).exists()
    made = build(write)
    assert sorted(path.name for path in made.path.iterdir()) == [ARTEFACT, "deep"]
    assert sorted(read_artefact(made.path)["files"]) == ["deep/a.txt"], "no list half written"


@pytest.mark.parametrize("place", ["shutil.rmtree", "os.rename"])
def test_what_is_complete_is_not_built_again(
    place: str, tmp_path: Path, build: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"tiebreak.store.{place}", killed)
        build(write)
    assert not Store(tmp_path).has("sft", KEY)
    made = build(lambda work: pytest.fail("built again"))
    assert not made.reused and Store(tmp_path).has("sft", KEY)
    assert sorted(path.name for path in made.path.iterdir()) == [ARTEFACT, "deep"]
