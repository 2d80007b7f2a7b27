"""plotly.js inside the page: 4.8 MB of script as 2 MB of text that the browser inflates."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Library:
    packed: str
    """The script, gzipped, in base64."""
    policy: str
    """The hash by which the page's policy lets it run."""
    styles: tuple[str, ...]
    """Ids of style sheets that it would add, for maps: where an element of that id is there, it
    does not. The page has no map, and its policy would refuse them with a message."""


@cache
def library() -> Library:
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs()
    packed = base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
    styles = re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', script)
    return Library(packed, policy(script), tuple(styles))


def policy(content: str) -> str:
    """A source expression of a content security policy: exactly this text may be run or used."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
