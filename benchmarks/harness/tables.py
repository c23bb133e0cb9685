"""The results of a run on a GPU as Markdown: targets with predictions and measurements, then each part.

python -m benchmarks.harness.tables [--results DIR]                        print the tables of a run
python -m benchmarks.harness.tables [--results DIR] --write docs/performance.md docs/log.md
                                                                   put them between the marks of pages

Without --results, those that are committed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import counted, roofline
from benchmarks.harness.predictions import DATA_SHEETS, Card
from benchmarks.harness.rows import FILE, Record, read_rows, table
from benchmarks.harness.session import DONE, read_state
from benchmarks.harness.targets import TARGETS, matching, number
from benchmarks.harness.tuning import EXPECTED
from benchmarks.pipeline import extrapolate

BEGIN, END = "<!-- gpu {}: python -m benchmarks.harness.tables --write -->", "<!-- end of gpu {} -->"
NOT_MEASURED = "not measured"
RESULTS = Path(__file__).resolve().parents[1] / "results"


def committed() -> list[Record]:
    """The rows of benchmarks/results that were measured on a GPU."""
    folders = sorted(path for path in RESULTS.iterdir() if path.is_dir() and not path.name.startswith("cpu"))
    return list(read_rows(*(folder / FILE for folder in folders)))


def measured_card(rows: Sequence[Record]) -> Card | None:
    """The ceilings of the run's card, if they were measured."""
    found = matching(rows, op="ceilings")
    if not found:
        return None
    return Card(found[-1]["device"], found[-1]["per_ms"]["read"], found[-1]["per_ms"]["product"])


def predictions(cards: Sequence[Card] = DATA_SHEETS) -> str:
    """What is expected of each target before it is measured."""
    rows = (
        [target.title, target.promise(), *(_expected(target, card) for card in cards)]
        for target in TARGETS
    )  # fmt: skip
    return table(["target", "", *(f"predicted, {card.name} data sheet" for card in cards)], rows)


def _expected(target: Any, card: Card) -> str:
    return "" if target.expected is None else number(target.expected(card))


def headline(rows: Sequence[Record]) -> str:
    """Every target: bound, prediction from ceilings, measurement."""
    card = measured_card(rows)
    shown = card or DATA_SHEETS[0]
    title = "predicted from its ceilings" if card else f"predicted, {shown.name} data sheet"
    lines = []
    for target in TARGETS:
        value = target.found(rows)
        figure = NOT_MEASURED if value is None else number(value) + ("" if target.met(value) else ", missed")
        lines.append([target.title, target.promise(), _expected(target, shown), figure])
    return table(["", "target", title, "measured"], lines)


def tuning(rows: Sequence[Record]) -> str:
    """Every kernel: predicted, measured, and how far apart."""
    card = measured_card(rows) or DATA_SHEETS[0]
    lines = []
    for expected in EXPECTED:
        ms, found = expected.ms(card), expected.measured(rows)
        cells = [NOT_MEASURED, ""] if found is None else [_ms(found), f"{number(found['ms_median'] / ms)} x"]
        lines.append([expected.name, number(ms), *cells, expected.why])
    return table(["kernel", f"predicted for {card.name}, ms", "measured, ms", "", "the prediction"], lines)


def counts(rows: Sequence[Record]) -> str:
    """Every counted kernel: instructions, the time to issue them, the time to move its bytes."""
    card = measured_card(rows) or DATA_SHEETS[0]
    lines = []
    for name, work in counted.CASES:
        call = work()
        issue, memory = call.issue_ms(), call.memory_ms(card.read)
        floor = f"{number(max(issue, memory) / memory)} x"
        lines.append([name, number(call.instructions / 1e6), number(issue), number(memory), floor, NOT_MEASURED])
    header = [
        "kernel",
        "million warp instructions",
        "ms to issue",
        f"ms of memory, {card.name}",
        "predicted, of memory",
    ]
    return table([*header, "measured"], lines)


def _ms(row: Record) -> str:
    return number(row["ms_median"]) if "ms_median" in row else row.get("not_measured", "")


def _dims(row: Record) -> str:
    return " x ".join(f"{length:,}" for length in row.get("shape") or [])


def kernels(rows: Sequence[Record]) -> str:
    """Kernels: time, bandwidth, fraction of the ceiling, relative to their baselines."""
    ours = matching(rows, suite="kernels", case=lambda case: case is not None and not case.startswith("peers"))
    ours += matching(rows, suite="kernels", case=None)
    lines = [
        [row["op"], row["impl"], row["dtype"], _dims(row), _ms(row),
         number(row["bytes"] / row["ms_median"] / 1e6) if row.get("bytes") else "",
         number(row.get("fraction_of_ceiling") or 0),
         "" if row.get("ratio") is None else f"{number(row['ratio'])} x {row['baseline']}"]
        for row in newest(ours) if "ms_median" in row
    ]  # fmt: skip
    return _part("Kernels", ["op", "by", "type", "shape", "ms", "GB/s", "of the read ceiling", "relative to"], lines)


def peers(rows: Sequence[Record]) -> str:
    """Projection types and other packages on the same gradients."""
    found = newest(matching(rows, case=lambda case: str(case).startswith("peers/")))
    lines = [
        [row["op"], row["impl"], row["dtype"], _ms(row), "" if row.get("ratio") is None else number(row["ratio"])]
        for row in found
    ]
    return _part("The same gradients by others", ["projection", "by", "type", "ms", "x torch.sum"], lines)


def gradients(rows: Sequence[Record]) -> str:
    """The pipeline: clips a second, ratio to a training step, memory, energy."""
    lines = [
        [row["model"], row["clip"], row["batch"], row["impl"], _ms(row),
         number(row["clips_per_second"]) if row.get("clips_per_second") else "",
         number(row["ratio"]) if row.get("ratio") else "",
         number(row["peak_bytes"] / 1e9) if row.get("peak_bytes") else "",
         number(row["joules_per_clip"]) if row.get("joules_per_clip") else ""]
        for row in newest(matching(rows, op="gradients"))
    ]  # fmt: skip
    header = ["model", "clip", "batch", "by", "ms", "clips/s", "x training step", "GB at the peak", "J a clip"]
    return _part("Gradients of full-size models", header, lines)


def stages(rows: Sequence[Record]) -> str:
    """Where a pass spends its time."""
    found = newest(matching(rows, op="stages"))
    names = list(dict.fromkeys(name for row in found for name in row["shares"]))
    lines = [
        [row["model"], row["clip"], row["batch"], row["impl"], *(f"{100 * row['shares'].get(n, 0):.0f} %" for n in names)]
        for row in found
    ]  # fmt: skip
    return _part("Share of the time of a pass", ["model", "clip", "batch", "by", *names], lines)


def simple(title: str, rows: Sequence[Record], **wanted: Any) -> str:
    """Rows with a time and a ratio, without more."""
    lines = [
        [row["op"], row["impl"], row.get("dtype", ""), _dims(row), _ms(row),
         number(row["fraction_of_ceiling"]) if row.get("fraction_of_ceiling") else "",
         number(row["ratio"]) if row.get("ratio") else ""]
        for row in newest(matching(rows, **wanted))
    ]  # fmt: skip
    return _part(title, ["op", "by", "type", "shape", "ms", "of the ceiling", "x baseline"], lines)


def end_to_end(rows: Sequence[Record]) -> str:
    """Indexing through the real store, and its stages."""
    lines = [
        [row["model"], row["clip"], row["batch"], f"{row['clips']:,}", number(row["clips_per_second"]),
         ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["shares"].items())]
        for row in newest(matching(rows, op="end to end"))
    ]  # fmt: skip
    header = ["model", "clip", "batch", "clips", "clips/s", "share of the time"]
    return _part("From cached latents to a store", header, lines)


def at_scale(rows: Sequence[Record]) -> str:
    """What was measured on one card, extrapolated to a million clips, and compared with the paper."""
    lines = extrapolate.lines(newest(rows))
    if not lines:
        lines = [("indexing", cards, NOT_MEASURED, extrapolate.Plan().assumptions()) for cards in extrapolate.CARDS]
    compared = extrapolate.beside_the_paper(newest(rows))
    return _part("A million clips", ["", "cards", "hours", "assuming"], lines) + _part(
        "Compared with the paper", ["", "the paper, A100", "here"], compared
    )


def checks(rows: Sequence[Record]) -> str:
    """The sanitizer's verdicts and the hardware counters."""
    found = newest(matching(rows, suite="sanitizer"))
    lines = [[row["op"], row["impl"], row["verdict"]] for row in found]
    counted = [
        [row["op"][:60], number(row.get("ns", 0) / 1e3), *(number(row[key]) if key in row else "" for key in
         ("dram_percent", "sm_percent", "l1_percent", "warps_percent", "registers"))]
        for row in newest(matching(rows, case="counters")) if "not_measured" not in row
    ]  # fmt: skip
    header = ["kernel", "us", "memory %", "SM %", "L1 and shared %", "warps %", "registers"]
    return _part("compute-sanitizer", ["tool", "program", "verdict"], lines) + _part("Counters", header, counted)


def newest(rows: Iterable[Record]) -> list[Record]:
    """The last row of each measurement."""
    keys = ("case", "op", "impl", "dtype", "shape", "model", "clip", "batch", "cards", "what")
    return list({json.dumps([row.get(key) for key in keys], default=str): row for row in rows}.values())


def _part(title: str, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    return f"\n### {title}\n\n{table(header, lines)}" if lines else ""


def tables(rows: Sequence[Record]) -> str:
    """All of it; targets, predictions and what a million clips take are for real measurements alone."""
    card, real = measured_card(rows), [row for row in rows if not row.get("rehearsal")]
    if card is None:
        about = "Nothing has been measured on a GPU yet.\n"
    else:
        found = matching(rows, op="ceilings")[-1]
        reached = ", ".join(f"{name} {number(value / 1e6)}" for name, value in found["per_ms"].items() if value)
        about = f"{card.name}; measured ceilings, GB/s or GFLOP/s: {reached}. Commit {found.get('commit')}.\n"
    parts = [
        about,
        headline(real),
        f"### Predicted and measured\n\n{tuning(real)}" if measured_card(real) else "",
        kernels(rows),
        peers(rows),
        gradients(rows),
        stages(rows),
        simple("Attention and encoders", rows, suite="pipeline", op=lambda op: op in ("attention", "encode")),
        simple("Search", rows, suite="scoring"),
        end_to_end(rows),
        at_scale(real),
        checks(rows),
    ]
    return "\n".join(part for part in parts if part)


def verdicts(state: dict[str, dict[str, Any]]) -> str:
    """The sections of a run and what became of them."""
    return table(["section", "", "s"], ([name, row["status"], row.get("seconds", "")] for name, row in state.items()))


def write(out: Path) -> None:
    """tables.md and roofline.svg of a run's folder."""
    rows, state = list(read_rows(out / FILE)), read_state(out / "session.json")
    notes = []
    if state.get("gate", {}).get("status", DONE) != DONE:
        notes.append(f"The correctness gate is not green ({state['gate']['status']}): nothing below may be quoted.\n")
    if any(row.get("rehearsal") for row in rows):
        notes.append("A rehearsal on a CPU with small shapes: these times mean nothing.\n")
    drawn = roofline.draw(rows, out / "roofline.svg")
    notes.append("![roofline](roofline.svg)\n" if drawn is None else f"Roofline not drawn: {drawn}.\n")
    (out / "tables.md").write_text("\n".join([*notes, tables(rows), verdicts(state)]), encoding="utf-8")


PARTS = {"tables": tables, "tuning": tuning, "counts": counts}
"""Name in the marks of a page -> what goes between them."""


def into_page(page: str, rows: Sequence[Record]) -> str:
    """A page with each part between its marks.

    Raises:
        ValueError: the page has no marks.
    """
    found = False
    for name, part in PARTS.items():
        head, begin, rest = page.partition(BEGIN.format(name))
        _, end, tail = rest.partition(END.format(name))
        if begin and end:
            page, found = f"{head}{begin}\n\n{part(rows)}\n{end}{tail}", True
    if not found:
        must = f"{BEGIN.format('tables')} and {END.format('tables')}"
        raise ValueError(f"tables: the page must hold {must}, got neither or one; put them where they go")
    return page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="folder of a run")
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="pages to put the tables into")
    options = parser.parse_args(arguments)
    rows = committed() if options.results is None else list(read_rows(options.results / FILE))
    measured = [row for row in rows if not row.get("rehearsal")]
    for path in options.write:
        path.write_text(into_page(path.read_text(encoding="utf-8"), measured), encoding="utf-8")
    if not options.write:
        print(tables(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
