"""A roofline plot: what each row reaches, over how many operations it does for a byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.rows import Record


def points(rows: Sequence[Record]) -> dict[str, tuple[float, float]]:
    """Label -> (operations a byte, operations a second) of every row that has both."""
    found = {}
    for row in rows:
        if row.get("bytes") and row.get("flops") and row.get("ms_median") and row.get("op") not in ("read", "copy"):
            label = f"{row['op']}, {row['impl']}"
            found[label] = row["flops"] / row["bytes"], row["flops"] / row["ms_median"] * 1e3
    return found


def draw(rows: Sequence[Record], path: Path) -> str | None:
    """Draw the plot; the reason where it cannot be."""
    roofs = [row["per_ms"] for row in rows if row.get("op") == "ceilings"]
    found = points(rows)
    if not roofs or not found:
        return "nothing to draw yet"
    try:
        import matplotlib
    except ImportError:
        return "matplotlib is not installed"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    read, product = (1e3 * roofs[-1][name] for name in ("read", "product"))
    figure, panel = pyplot.subplots(figsize=(8, 5), layout="constrained")
    xs = sorted({0.1, 1e4, product / read, *(x for x, _ in found.values())})
    panel.plot(xs, [min(read * x, product) for x in xs], color="black", label="measured ceilings")
    for number, (label, (x, y)) in enumerate(sorted(found.items())):
        panel.plot([x], [y], marker="os^vD<>ph*"[number % 10], linestyle="", label=label)
    panel.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="operations a second")
    panel.legend(fontsize=6, loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return None
