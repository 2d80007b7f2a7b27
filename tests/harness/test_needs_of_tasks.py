"""What a task's code needs beside lm-eval, and IFEval, which needs the most."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import nltk.data
import pytest
from lm_eval.api.model import LM

from tests.harness.made import write
from tests.harness.test_tasks import asked
from tiebreak.compose import compose
from tiebreak.errors import UserError
from tiebreak.harness import needs
from tiebreak.harness.ask import ask
from tiebreak.harness.needs import Needs, needs_of
from tiebreak.harness.tasks import Benchmark

PROMPTS: list[dict[str, Any]] = [
    {"key": 1, "prompt": "Lower case.", "instruction_id_list": ["change_case:english_lowercase"],
     "kwargs": [{"num_words": None, "num_sentences": None, "relation": None}]},
    {"key": 2, "prompt": "Three sentences without a comma, in 5 words.",
     "instruction_id_list": ["length_constraints:number_sentences", "punctuation:no_comma",
                             "length_constraints:number_words"],
     "kwargs": [{"num_words": None, "num_sentences": 3, "relation": "at least"},
                {"num_words": None, "num_sentences": None, "relation": None},
                {"num_words": 5, "num_sentences": None, "relation": "at least"}]},
]  # fmt: skip
NLTK_LOOKS = list(nltk.data.path)
ANSWERS = {"Lower case.": "Sure:\nthis is all written in lower case", PROMPTS[1]["prompt"]:
           "It is tea. It is hot. It is, well, good."}  # fmt: skip


class Written(LM):
    """A model whose answers are known."""

    tokenizer_name = "none"

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return [ANSWERS[one.args[0]] for one in requests]

    def loglikelihood(self, requests: list[Any]) -> Any:
        raise AssertionError

    loglikelihood_rolling = loglikelihood


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    write(tmp_path / "mirror", "google/IFEval", {"default": {"train": PROMPTS}})
    return tmp_path / "mirror"


@pytest.fixture
def punkt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of sentences that knows one abbreviation, below the home, and none elsewhere."""
    folder = tmp_path / "home" / "nltk_data" / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    for name in ("collocations.tab", "sent_starters.txt", "ortho_context.tab"):
        (folder / name).write_text("")
    (folder / "abbrev_types.txt").write_text("dr\n")
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setattr(nltk.data, "path", [])


def test_ifeval_is_scored_offline_strict_and_loose_by_prompt_and_by_instruction(
    mirror: Path, punkt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*given: Any) -> None:
        raise AssertionError("nothing is asked of the network")

    monkeypatch.setattr(nltk, "download", download)
    how = {"questions": None, "chat_template": False, "mirror": str(mirror)}
    rows = ask(Written(), Benchmark("ifeval", None), **how)
    scores = [row["scores"] for row in rows]
    # The first answer is in lower case without its first line. Of the second one's three
    # instructions it breaks one, and no part of it keeps all. Two prompts have 4 instructions.
    assert [one["prompt_level_strict_acc"] for one in scores] == [0, 0]
    assert [one["prompt_level_loose_acc"] for one in scores] == [1, 0]
    assert [one["inst_level_strict_acc"] for one in scores] == [0, 2 * 2 / 4]
    assert sum(one["inst_level_strict_acc"] for one in scores) / 2 == 2 / 4
    assert sum(one["inst_level_loose_acc"] for one in scores) / 2 == 3 / 4
    assert rows == ask(Written(), Benchmark("ifeval", None), **how)
    import langdetect

    assert langdetect.DetectorFactory.seed == 0, "languages are told by draws"


def test_what_is_missing_is_refused_before_anything_is_trained(
    mirror: Path, punkt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="NLTK's punkt_tab.* python -m nltk.downloader punkt_tab"):
        asked(mirror, "ifeval")
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    assert "ifeval" in asked(mirror, "ifeval").evaluators
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "empty"))
    archive = tmp_path / "given" / "tokenizers" / "punkt_tab.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "given"))
    assert "ifeval" in asked(mirror, "ifeval", questions=1).evaluators, "where NLTK is told to look"

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *more: None if name == "langdetect" else found(name, *more),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"ifeval imports langdetect, which.*tiebreak\[eval\]"):
        asked(mirror, "ifeval", questions=2)


def test_the_preset_adds_columns_to_a_record_of_the_others(mirror: Path, punkt: None) -> None:
    run, other = (compose([f"evaluation={name}", f"evaluation.mirror={mirror}"])
                  for name in ("ifeval", "short"))  # fmt: skip
    assert (run.run_id, run.evaluation_id) == (other.run_id, other.evaluation_id)
    assert run.evaluators.items() - other.evaluators.items() == {
        ("ifeval", run.evaluators["ifeval"])
    }
    assert run.evaluation.chat_template


def test_what_a_definition_needs_is_read_from_its_code(tmp_path: Path) -> None:
    root = tmp_path / "lm_eval" / "tasks"
    (root / "one" / "inner").mkdir(parents=True)
    (root / "one" / "two.yaml").write_text("task: two\ninclude: base\n")
    (root / "one" / "base").write_text("process_docs: !function utils.docs\n")
    (root / "one" / "other.yaml").write_text("task: other\nprocess_docs: !function far.docs\n")
    (root / "one" / "all.yaml").write_text("group: all\ntask: [two, other]\n")
    (root / "one" / "far.py").write_text("import far_away.inside\n")
    (root / "one" / "utils.py").write_text(
        "from lm_eval.tasks.one.inner import more\nimport lm_eval.api\nimport re, beside\n"
        "try:\n    import maybe\nexcept ImportError:\n    maybe = None\n"
        "def docs():\n    import later\n"
    )
    (root / "one" / "beside.py").write_text("import numpy\n")
    (root / "one" / "inner" / "more.py").write_text(
        "import nltk\nnltk.data.find('tokenizers/a_model')\n"
    )
    models = frozenset({"tokenizers/a_model"})
    two = Needs(frozenset({"re", "numpy", "nltk"}), models)
    assert needs_of(root / "one" / "two.yaml", root) == two
    assert needs_of(root / "one" / "all.yaml", root) == (two.modules | {"far_away"}, models)
    assert needs_of(root / "one" / "base", root) == two
    assert not needs_of(root / "nothing.yaml", root).modules


def test_nltk_looks_where_we_do() -> None:
    ours = {str(folder) for folder in needs.nltk_folders()}
    assert NLTK_LOOKS and {one for one in NLTK_LOOKS if Path(one).is_absolute()} <= ours
