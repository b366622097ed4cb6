"""From measured rows to bench.json's entries and the printed table."""

import os
import platform
import statistics
from pathlib import Path

OURS = "tapeflow"
PEAK = "FMA peak"
# What the lesson's step multiplies and adds in matrix products, in units of 1e9.
STEP_GFLOP = 4.93
FLOOR = "lesson's step, compiled, against the FMA floor"
# What is wanted of each row, in the order they are printed; times are compared by their ratio.
WANTED = {
    "lesson's step, compiled": "<= 0.62",
    FLOOR: "<= 1.30",
    "lesson's step, eager": "<= 0.45",
    "whole job": "<= 0.50",
    "whole job, peak memory": "<= 350 MB",
    "forward of 256 images": "<= 0.75",
    "forward of 1 image": "<= 0.9",
    "GEMM fc1 forward": ">= 0.85",
    "GEMM fc1 weight gradient": ">= 0.85",
    "GEMM fc1 input gradient": ">= 0.85",
    "GEMM 256^3": ">= 0.85",
    "GEMM 1024^3": ">= 0.85",
    "GEMM 2048^3": ">= 0.85",
    "deeper net's step, compiled": "<= 0.8",
}


def entries(rows):
    """A list of {what, ours, peer, peer_name, peer_version, unit, ratio}; of the same `what` the
    peak, measured before each call of ours, comes first, then the fastest peer."""
    found = against_the_peak(rows)
    for what in dict.fromkeys(what for what, _ in rows):
        if (what, OURS) not in rows:
            continue
        ours = rows[what, OURS]
        compared = [
            entry(what, middle(ours), middle(row), peer, row["version"], row["unit"])
            for (other, peer), row in rows.items()
            if other == what and peer not in (OURS, PEAK)
        ]
        faster_first = ours["unit"] == "GFLOP/s"
        found += sorted(compared, key=lambda entry: entry["peer"], reverse=faster_first)
    return found


def against_the_peak(rows):
    found = []
    for (what, peer), row in rows.items():
        if peer != PEAK:
            continue
        ours, peak = rows[what, OURS], middle(row)
        if what.startswith("GEMM"):
            found.append(entry(what, middle(ours), peak, PEAK, cpu(), "GFLOP/s"))
        else:
            floor = 1e3 * STEP_GFLOP / peak
            found.append(entry(FLOOR, middle(ours), floor, PEAK, cpu(), "ms"))
    return found


def entry(what, ours, peer, name, version, unit):
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": name,
        "peer_version": version,
        "unit": unit,
        "ratio": ours / peer,
    }


def middle(row):
    return statistics.median(row["values"])


def text(entries, rows):
    """The comparison with the best peer of each row, then everything that was measured."""
    best = {}
    for entry in entries:
        best.setdefault(entry["what"], entry)
    lines = [f"{cpu()}, {os.cpu_count()} threads, f32", ""]
    peaks = [value for (_, peer), row in rows.items() if peer == PEAK for value in row["values"]]
    if peaks:
        middle_peak, most = statistics.median(peaks), max(peaks)
        lines[0] += f", FMA peak {middle_peak:.0f} GFLOP/s in the median, {most:.0f} at most"
    lines += ["| what | tapeflow | best peer | ratio | wanted |", "|---|---|---|---|---|"]
    for what, wanted in WANTED.items():
        if what in best:
            row = best[what]
            ours, peer = amount(row["ours"], row["unit"]), amount(row["peer"], row["unit"])
            name = row["peer_name"]
            if name != PEAK:
                name += " " + row["peer_version"]
            lines.append(f"| {what} | {ours} | {peer} {name} | {row['ratio']:.2f} | {wanted} |")
    lines += ["", "| what | program | median | least | most |", "|---|---|---|---|---|"]
    for (what, peer), row in sorted(rows.items()):
        values = [middle(row), min(row["values"]), max(row["values"])]
        amounts = " | ".join(amount(value, row["unit"]) for value in values)
        lines.append(f"| {what} | {peer} {row['version']} | {amounts} |")
    return "\n".join(lines)


def amount(value, unit):
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
