# SPDX-License-Identifier: LGPL-2.1-or-later
"""Curves over time, drawn by gnuplot."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

COLOURS = ("#c0392b", "#1f77b4", "#e8a09a", "#9cc4e4")


@dataclass
class Curve:
    label: str
    points: list[tuple[float, float]]


def draw(path: str, title: str, panels: list[tuple[str, list[Curve]]],
         x_label: str, y_label: str, floor: float = -10) -> None:
    """One panel under the other, same axes."""
    script = [
        f"set terminal pngcairo size 900,{340 * len(panels)} "
        "font 'DejaVu Sans,11'",
        f"set output '{path}'",
        f"set multiplot layout {len(panels)},1 title '{title}' "
        "font ',13'",
        "set grid lc rgb '#dddddd'", "set border 3", "set tics nomirror",
        "set key at graph 0.02,0.92 left top reverse Left",
        f"set yrange [{floor}:*]",
        f"set ylabel '{y_label}'",
    ]
    for number, (name, curves) in enumerate(panels):
        if number == len(panels) - 1:
            script.append(f"set xlabel '{x_label}'")
        script.append(f"set title '{name}' offset 0,-0.7")
        for i, curve in enumerate(curves):
            script.append(f"$d{number}_{i} << E")
            script += [f"{x:.3f} {y:.3f}" for x, y in curve.points]
            script.append("E")
        script.append("plot " + ", ".join(
            f"$d{number}_{i} with lines lw 2.5 lc rgb '{COLOURS[i % 4]}' "
            f"title '{curve.label}'" for i, curve in enumerate(curves)))
    script.append("unset multiplot")
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True,
                   check=True)
