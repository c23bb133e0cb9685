"""A JSON Lines file of clips, for scripts."""

from __future__ import annotations

from motive.data.writers.writer import Export, SelectionWriter, Training, json_lines, quoted


class JsonLinesWriter(SelectionWriter):
    """``clips.jsonl``: one object a line with ``path``, ``caption``, ``clip_id``, the clip's columns and the scores."""

    name = "jsonl"
    names_parts = True

    def write(self, export: Export) -> None:
        records = (
            export.record(row, {"path": path, "caption": row.clip.caption, "clip_id": row.clip.clip_id})
            for row, path in export.videos(self)
        )
        json_lines(export.folder / "clips.jsonl", records)

    def training(self, export: Export) -> Training:
        return Training("scripts that read JSON Lines", (f"head -1 {quoted(export.final / 'clips.jsonl')}",))
