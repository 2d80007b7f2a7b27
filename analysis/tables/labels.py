"""What to call runs that share a name and differ in settings: `dpo (beta=0.05)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tiebreak_analysis.records.runs import Record, Settings, setting_text, varying


def shared_settings(
    records: Sequence[Record], by: Callable[[Record], str] = lambda record: record.group_id
) -> dict[str, Settings]:
    """Group -> the settings that all its runs share (a path may differ between machines)."""
    groups: dict[str, Settings] = {}
    for record in records:
        name = by(record)
        so_far = groups.setdefault(name, record.settings)
        if so_far is not record.settings and so_far != record.settings:
            differing = set(varying([so_far, record.settings]))
            groups[name] = {k: v for k, v in so_far.items() if k not in differing}
    return groups


def told_apart(
    records: Sequence[Record],
    name_of: Callable[[Record], str],
    counts: Callable[[str], bool],
    by: Callable[[Record], str] = lambda record: record.group_id,
) -> dict[str, str]:
    """Group -> its name, with the settings in which it differs from others of that name.

    Settings are those whose top-level key `counts`. Two groups have the same label exactly when
    name and settings are the same.
    """
    names, labels = {by(record): name_of(record) for record in records}, {}
    settings = {
        group: {key: value for key, value in shared.items() if counts(key.split(".")[0])}
        for group, shared in shared_settings(records, by).items()
    }
    for name in set(names.values()):
        groups = {group: settings[group] for group in names if names[group] == name}
        keys = varying(groups.values())
        last = [key.rsplit(".", 1)[-1] for key in keys]  # enough, where no other key ends in it
        short = {k: w if last.count(w) == 1 else k for k, w in zip(keys, last, strict=True)}
        for group, values in groups.items():
            told = [f"{short[k]}={setting_text(values[k])}" for k in keys if k in values]
            labels[group] = f"{name} ({', '.join(told)})" if told else name
    return labels


def material(settings: Settings) -> str:
    """Which model and data a run was told to use, to be compared."""
    return repr(sorted(s for s in settings.items() if s[0].split(".")[0] in ("model", "data")))


def natural(text: str) -> list[tuple[float, str]]:
    """A sort key that puts `beta=0.05` before `beta=0.1` and `beta=5e-07` before both."""
    pieces = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [(float(p), "") if at % 2 else (0.0, p) for at, p in enumerate(pieces)]
