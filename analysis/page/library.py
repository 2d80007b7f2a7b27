"""plotly.js inside the page: 4.8 MB of script as 2 MB of text that the browser inflates."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache


@cache
def packed() -> tuple[str, str]:
    """The library, gzipped, in base64; and the hash by which the page's policy lets it run."""
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs()
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode(), policy(script)


def policy(content: str) -> str:
    """A source expression of a content security policy: exactly this text may be run or used."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
