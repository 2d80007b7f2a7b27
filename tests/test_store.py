"""Artefacts: one name for one content, built once, published whole, whatever kills the builder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak import store as stores
from tiebreak.errors import UserError
from tiebreak.store import ARTEFACT, Settings, Store, key, read_artefact, weights_hash

INPUTS = {"data": "d1", "lr": 0.1}
KEY = key("sft", INPUTS)

KILLED = """
import sys, time
from pathlib import Path
from tiebreak.store import Store, key
inputs = {"data": "d1", "lr": 0.1}
def builder(work):
    (work / "checkpoints").mkdir(exist_ok=True)
    (work / "checkpoints" / "step").write_text("7")
    print("started", flush=True)
    time.sleep(60)
Store(Path(sys.argv[1])).build("sft", key("sft", inputs), inputs, builder)
"""


def start(root: Path) -> subprocess.Popen[str]:
    """A process that holds the lock and is in the middle of the build."""
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "started\n"
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


def write(work: Path) -> None:
    (work / "deep").mkdir(exist_ok=True)
    (work / "deep" / "a.txt").write_text("abc")


def test_key_is_pinned() -> None:
    text = '{"inputs":{"data":"d1","lr":0.1},"stage":"sft"}'
    assert KEY == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert key("sft", {"lr": 0.1, "data": "d1"}) == KEY
    assert key("align", INPUTS) != KEY
    assert key("sft", {"a": (1, 2)}) == key("sft", {"a": [1, 2]})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), json_values), st.dictionaries(st.text(), json_values))
def test_equal_keys_mean_equal_json(left: dict, right: dict) -> None:
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (key("s", left) == key("s", right)) == same
    assert key("s", json.loads(json.dumps(left))) == key("s", left)
    inputs = json.dumps({"inputs": left, "stage": "s"}, sort_keys=True, separators=(",", ":"))
    assert key("s", left) == hashlib.sha256(inputs.encode()).hexdigest()[:16]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), json_values))
def test_shared_settings_are_hashed_like_any_mapping(part: dict) -> None:
    shared = Settings(part)
    assert key("s", {"a": shared, "b": 1}) == key("s", {"a": part, "b": 1})
    assert key("s", {"a": [shared, shared]}) == key("s", {"a": [part, part]})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), r"sft\.lr\[0\]: nan"),
        (float("inf"), "inf"),
        ({1, 2}, "set"),
        (Path("x"), "PosixPath"),
        ({3: "x"}, "key 3 is not a string"),
    ],
)
def test_key_refuses_what_json_cannot_hold(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        key("sft", {"lr": [value]})


def test_build_publishes_and_is_reused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.has("sft", KEY)
    first = store.build("sft", KEY, INPUTS, write)
    again = store.build("sft", KEY, INPUTS, lambda work: pytest.fail("built twice"))
    assert (first.reused, again.reused) == (False, True)
    assert first.path == again.path == tmp_path / "sft" / KEY
    about = json.loads((first.path / ARTEFACT).read_text())
    expected = {"sha256": hashlib.sha256(b"abc").hexdigest(), "size": 3}
    assert about == {
        "format": 2, "stage": "sft", "key": KEY, "inputs": INPUTS,
        "files": {"deep/a.txt": expected},
    }  # fmt: skip
    assert not store.work("sft", KEY).exists()


def test_scratch_is_not_published(tmp_path: Path) -> None:
    def builder(work: Path) -> None:
        write(work)
        (work / "checkpoints").mkdir()
        (work / "checkpoints" / "big").write_text("x")

    made = Store(tmp_path).build("sft", KEY, INPUTS, builder, scratch=("checkpoints", "absent"))
    assert sorted(read_artefact(made.path)["files"]) == ["deep/a.txt"]
    assert not (made.path / "checkpoints").exists()


def test_failing_builder_keeps_its_work_and_lets_go(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fails(work: Path) -> None:
        (work / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.build("sft", KEY, INPUTS, fails)
    assert not store.has("sft", KEY)

    def goes_on(work: Path) -> None:
        assert (work / "half").read_text() == "half"

    assert not store.build("sft", KEY, INPUTS, goes_on).reused


def test_killed_builder_is_followed_at_once(tmp_path: Path) -> None:
    kill(start(tmp_path))
    assert not Store(tmp_path).has("sft", KEY)

    def goes_on(work: Path) -> None:
        assert (work / "checkpoints" / "step").read_text() == "7"
        write(work)

    began = time.monotonic()
    Store(tmp_path).build("sft", KEY, INPUTS, goes_on, scratch=("checkpoints",))
    assert time.monotonic() - began < 5


def test_waiting_says_for_whom_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    child = start(tmp_path)
    waits = threading.Thread(
        target=Store(tmp_path).build, args=("sft", KEY, INPUTS, write), daemon=True
    )
    waits.start()
    waits.join(0.5)
    assert waits.is_alive(), "two builders at once"
    kill(child)
    waits.join(10)
    assert not waits.is_alive()
    assert Store(tmp_path).has("sft", KEY)
    said = capfd.readouterr().err
    assert said.count("waiting") == 1
    assert f"waiting for sft/{KEY}: process {child.pid} on " in said


def test_many_builders_build_once(tmp_path: Path) -> None:
    built, results = [], []

    def slow(work: Path) -> None:
        built.append(1)
        time.sleep(0.1)
        write(work)

    def one() -> None:
        results.append(Store(tmp_path).build("sft", KEY, INPUTS, slow).reused)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert sorted(results) == [False, True, True, True]


def test_full_disk_names_the_remedy_and_keeps_the_work(tmp_path: Path) -> None:
    def full(work: Path) -> None:
        (work / "half").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match="No space left .* free some space .* is kept in"):
        Store(tmp_path).build("sft", KEY, INPUTS, full)
    assert not Store(tmp_path).has("sft", KEY)
    assert (Store(tmp_path).work("sft", KEY) / "half").read_text() == "half"


def test_full_disk_while_publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(stores.os, "rename", full)
        with pytest.raises(UserError, match="No space left"):
            Store(tmp_path).build("sft", KEY, INPUTS, write)
    assert not Store(tmp_path).has("sft", KEY)
    again = Store(tmp_path).build("sft", KEY, INPUTS, lambda work: None)
    assert sorted(read_artefact(again.path)["files"]) == ["deep/a.txt"]


def test_unwritable_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Store(tmp_path).build("sft", KEY, INPUTS, write)

    def read_only(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert Store(tmp_path).build("sft", KEY, INPUTS, write).path == made.path
    other = {"data": "d2"}
    with pytest.raises(UserError, match="Read-only.*make it writable.*TIEBREAK_HOME"):
        Store(tmp_path).build("sft", key("sft", other), other, write)


def test_a_builders_own_permission_error_is_its_own(tmp_path: Path) -> None:
    def refused(work: Path) -> None:
        raise PermissionError(errno.EACCES, "denied", "/elsewhere")

    with pytest.raises(PermissionError, match="elsewhere"):
        Store(tmp_path).build("sft", KEY, INPUTS, refused)


def test_other_format_is_refused(tmp_path: Path) -> None:
    made = Store(tmp_path).build("sft", KEY, INPUTS, write)
    about = read_artefact(made.path)
    (made.path / ARTEFACT).write_text(json.dumps({**about, "format": 1}))
    with pytest.raises(UserError, match=f"{KEY} has artefact format 1, expected 2; delete it"):
        Store(tmp_path).build("sft", KEY, INPUTS, write)


def test_damaged_artefact_is_named(tmp_path: Path) -> None:
    made = Store(tmp_path).build("sft", KEY, INPUTS, write)
    (made.path / "deep" / "a.txt").write_text("abcd")
    with pytest.raises(UserError, match="a.txt is missing or was changed; delete"):
        Store(tmp_path).has("sft", KEY)
    (made.path / ARTEFACT).write_text("{")
    with pytest.raises(UserError, match="is not an artefact"):
        Store(tmp_path).has("sft", KEY)


def test_builder_must_leave_plain_files(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="left no file"):
        Store(tmp_path).build("sft", KEY, INPUTS, lambda work: None)
    with pytest.raises(AssertionError, match="plain files only"):
        Store(tmp_path).build("sft", KEY, INPUTS, lambda work: (work / "l").symlink_to("/etc"))
    with pytest.raises(AssertionError, match="is not the key"):
        Store(tmp_path).build("sft", KEY, {"data": "other"}, write)


def test_weights_hash(tmp_path: Path) -> None:
    def weights(work: Path) -> None:
        (work / "b.safetensors").write_bytes(b"bb")
        (work / "a.safetensors").write_bytes(b"aa")
        (work / "config.json").write_text("{}")

    made = Store(tmp_path / "store").build("sft", KEY, INPUTS, weights).path
    plain = tmp_path / "plain"
    plain.mkdir()
    weights(plain)
    assert weights_hash(made) == weights_hash(plain)  # published or not, one name
    (plain / "config.json").write_text("{ }")
    assert weights_hash(made) == weights_hash(plain)
    (plain / "a.safetensors").write_bytes(b"ab")
    assert weights_hash(made) != weights_hash(plain)
    (plain / "a.safetensors").unlink()
    (plain / "b.safetensors").unlink()
    with pytest.raises(UserError, match="has no \\*.safetensors"):
        weights_hash(plain)


def test_store_needs_no_torch() -> None:
    code = "import tiebreak.store, tiebreak.track.record, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
