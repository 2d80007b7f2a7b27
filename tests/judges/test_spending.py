"""What endpoints were paid in a home, and caps that all of its runs keep together."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.judges.server import KEY, judging, longer
from tests.judges.test_endpoint import config, questions, rows
from tiebreak.errors import UserError
from tiebreak.judges.endpoint import Endpoint
from tiebreak.judges.judge import Reply, Status
from tiebreak.judges.session import judge_all
from tiebreak.judges.spending import Amount, Spending


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return tmp_path / "home"


def spending(**more: Any) -> Spending:
    return Spending(config("http://127.0.0.1:1/v1", **more))


def test_a_cap_counts_what_other_runs_spent(tmp_path: Path, home: Path) -> None:
    with judging() as judge:
        judge_all(Endpoint.of(config(judge.url)), questions(3), tmp_path / "one.jsonl")
        capped = config(judge.url, max_total_tokens=1500, max_tokens=10, concurrency=1)
        with pytest.raises(UserError, match=r"max_total_tokens=1500 is reached; (\d) of 12"):
            judge_all(Endpoint.of(capped), questions(), tmp_path / "two.jsonl")
        kept = len(rows(tmp_path / "two.jsonl"))
        assert len(judge.asked) == 6 + kept and 6 * 110 + kept * 110 <= 1500
        assert spending().so_far().tokens == 110 * len(judge.asked)
        before = len(judge.asked)
        other = config(judge.url, max_total_tokens=1500, max_tokens=10, model="another")
        with pytest.raises(UserError, match="is reached; 0 of 12"):
            judge_all(Endpoint.of(other), questions(), tmp_path / "three.jsonl")
        assert len(judge.asked) == before, "whoever is asked"
    text = (home / "judges" / "spent.jsonl").read_text()
    assert KEY not in text and text.count('"call": "before"') == 1


def test_money_is_counted_at_the_price_of_each_call() -> None:
    dear, cheap = (
        spending(price_sent=1e6, price_written=2e6),
        spending(price_sent=1, price_written=1),
    )
    dear.settle(dear.reserve(10, 10), Reply(Status.OK, 1.0, "", 3, 2))
    assert cheap.so_far() == Amount(3, 2, 7.0)
    capped = spending(price_sent=1e6, price_written=1e6, max_cost=10.0)
    assert capped.reserve(1, 2)
    with pytest.raises(UserError, match="evaluation.judge.max_cost=10 is reached"):
        capped.reserve(1, 0)


def test_a_call_whose_process_died_counts_with_its_most() -> None:
    dead = spending()
    dead.reserve(100, 50)
    assert spending().so_far().tokens == 150
    answered = dead.reserve(100, 50)
    dead.settle(answered, Reply(Status.OK, 1.0, "", 40, 5))
    dead.settle(dead.reserve(100, 50), None)
    dead.settle(dead.reserve(100, 50), Reply(Status.TIMED_OUT, None))
    assert spending().so_far().tokens == 150 + 45 + 0 + 150


def test_workers_keep_one_cap_together() -> None:
    """Ten at once, each with a file of its own open; a cap for twenty calls of ten tokens."""
    done, refused = [], []

    def work() -> None:
        own = spending(max_total_tokens=200)
        for _ in range(5):
            try:
                done.append(own.reserve(6, 4))
            except UserError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == (20, 30) and spending().so_far().tokens == 200


def test_judgements_from_before_there_was_such_a_file_count(home: Path) -> None:
    file = home / "artefacts" / "head_to_head" / "k1" / "judgements.jsonl"
    file.parent.mkdir(parents=True)
    told = [{"judge": judge, "tokens": [10, 2]} for judge in ("scripted", "scripted", "local")]
    file.write_text("".join(json.dumps(row) + "\n" for row in told) + '{"torn')
    asked = spending(price_sent=1e6, price_written=1e6)
    assert asked.so_far() == Amount(20, 4, 24.0) and not (home / "judges").exists()
    asked.settle(asked.reserve(1, 1), Reply(Status.OK, 1.0, "", 1, 1))
    file.unlink()
    assert spending().so_far().tokens == 26


def test_a_torn_line_is_no_call(home: Path) -> None:
    asked = spending()
    asked.reserve(3, 4)
    file = home / "judges" / "spent.jsonl"
    file.write_bytes(file.read_bytes() + b'{"call": "x", "se')
    spending().reserve(1, 2)
    assert spending().so_far().tokens == 10


def test_a_cap_on_money_needs_prices() -> None:
    with pytest.raises(UserError, match="max_cost=3 needs evaluation.judge.price_sent"):
        Endpoint.of(config("http://127.0.0.1:1/v1", max_cost=3.0))


def test_retries_are_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiebreak.judges import endpoint

    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    with judging(lambda prompt, seen: longer(prompt, 0) if seen else {"status": 429}) as judge:
        judge_all(Endpoint.of(config(judge.url)), questions(2), tmp_path / "j.jsonl")
        assert len(judge.asked) == 8 and spending().so_far().tokens == 4 * 110
