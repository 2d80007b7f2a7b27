"""What `wandb.Api` asks of a server, answered from what the server was sent."""

from __future__ import annotations

import json
from typing import Any


class ReadBack:
    """The runs of one project, each with its config, summary, history and files."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[str]] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.asked: list[str] = []
        """What was asked for, of each question the file or the kind: they are counted."""

    def upsert(self, run_id: str, given: dict[str, Any]) -> None:
        empty = {
            "id": run_id, "name": run_id, "displayName": run_id, "projectId": "1", "tags": [],
            "sweepName": None, "state": "running", "config": "{}", "group": None, "jobType": None,
            "commit": None, "readOnly": False, "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": "2026-01-01T00:00:00", "description": None, "notes": None,
            "systemMetrics": "{}", "summaryMetrics": "{}", "historyLineCount": 0,
            "user": {"name": "someone", "username": "someone"}, "historyKeys": None,
        }  # fmt: skip
        node = self.nodes.setdefault(run_id, empty)
        node["state"] = "running"
        for name, ours in (("config", "config"), ("groupName", "group"), ("jobType", "jobType")):
            if given.get(name) is not None:
                node[ours] = given[name]

    def file_stream(self, run_id: str, sent: dict[str, Any]) -> None:
        files = sent.get("files") or {}
        lines = self.history.setdefault(run_id, [])
        lines += files.get("wandb-history.jsonl", {}).get("content", [])
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.nodes[run_id]["summaryMetrics"] = line
        if sent.get("complete"):
            self.nodes[run_id]["state"] = "finished" if sent["exitcode"] == 0 else "failed"

    def graphql(self, query: str, asked: dict[str, Any], url: str) -> dict[str, Any] | None:
        """None: the question is about something else."""
        if "query RunResumeStatus" in query:
            return {"model": self._resume(asked["name"])}
        if "query Runs(" in query:
            self.asked.append("runs")
            return {"project": self._page(asked["project"])}
        if "query RunFiles(" in query:
            self.asked += asked["fileNames"]
            return {"project": {"internalId": "1", "run": self._listing(asked, url)}}
        if "historyKeys }" in query:
            steps = [json.loads(line)["_step"] for line in self.history[asked["name"]]]
            keys = {"lastStep": max(steps, default=-1), "keys": {}, "sets": []}
            return {"project": {"run": {"historyKeys": keys}}}
        if "parquetHistory(" in query:  # none is exported: all rows are live
            self.asked.append("history")
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}
        if "query HistoryPage" in query:
            rows = self.history[asked["run"]]
            inside = range(asked["minStep"], asked["maxStep"])
            page = [row for row in rows if json.loads(row)["_step"] in inside]
            return {"project": {"run": {"history": page}}}
        return None

    def _resume(self, run_id: str) -> dict[str, Any] | None:
        """A run that is there goes on counting W&B's own steps where it was."""
        if run_id not in self.nodes:
            return None
        rows = self.history.get(run_id, [])
        bucket = self.nodes[run_id] | {
            "logLineCount": 0, "historyLineCount": len(rows), "eventsLineCount": 0,
            "historyTail": json.dumps(rows[-1:]), "eventsTail": "[]", "wandbConfig": '{"t": 1}',
        }  # fmt: skip
        team = {"id": "1", "name": "team"}
        return {"id": "1", "name": "tiebreak", "entity": team, "bucket": bucket}

    def _page(self, project: str) -> dict[str, Any] | None:
        if project != "tiebreak":
            return None
        edges = [{"node": node, "cursor": name} for name, node in self.nodes.items()]
        end = {"endCursor": None, "hasNextPage": False}
        runs = {"edges": edges, "pageInfo": end}
        return {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": runs}

    def _listing(self, asked: dict[str, Any], url: str) -> dict[str, Any]:
        edges = [
            {
                "node": {
                    "id": name, "name": name, "url": f"{url}/storage/{run_id}/{name}",
                    "directUrl": "", "sizeBytes": len(content), "mimetype": "",
                    "updatedAt": "2026-01-01T00:00:00", "md5": "",
                },
                "cursor": name,
            }
            for (run_id, name), content in self.files.items()
            if run_id == asked["name"] and name in asked["fileNames"]
        ]  # fmt: skip
        end = {"endCursor": None, "hasNextPage": False}
        return {"fileCount": len(edges), "files": {"edges": edges, "pageInfo": end}}
