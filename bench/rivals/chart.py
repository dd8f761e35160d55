"""Draws the rates as a bar chart with a logarithmic scale."""

import math

import figures as measured
import jobs

COLORS = {"millstream": "#1b6ca8", "millstream-made": "#8fc1e3", "flink-heap": "#e6526f", "flink-rocksdb": "#f2a7b5", "spark": "#e8a33d", "bytewax": "#7a7a7a"}
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 860, 110, 60, 70, 9, 9
LOW, HIGH = -2, 1.5


def write(path, figures):
    path.parent.mkdir(exist_ok=True)
    path.write_text(draw(figures))


def text(x, y, content, size=11, anchor="start", color="#333333"):
    escaped = content.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}">{escaped}</text>'


def x_of(rate):
    """The x coordinate of a rate in millions per second."""
    share = (math.log10(max(rate, 1e-9)) - LOW) / (HIGH - LOW)
    return LEFT + min(max(share, 0), 1) * (WIDTH - LEFT - RIGHT)


def draw(figures):
    body, y, seen = [], TOP, {}
    for name, job in figures["jobs"].items():
        found = {engine: figure for (engine, workers), figure in measured.figures_of(job)[0].items() if workers == 1}
        if not found:
            continue
        body.append(text(LEFT - 8, y + len(found) * BAR / 2 + 4, jobs.BY_NAME[name].title, anchor="end"))
        for engine in (engine for engine in COLORS if engine in found):
            rate = found[engine].million_per_cpu_s
            width = x_of(rate) - LEFT if rate else 0
            body.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{COLORS[engine]}"/>')
            body.append(text(LEFT + width + 3, y + BAR - 1.5, f"{rate:.2f}" if rate else "?", size=8))
            seen[engine] = True
            y += BAR
        y += GAP
    lines = []
    for power in range(LOW, int(HIGH) + 1):
        x = x_of(10**power)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{y}" stroke="#dddddd"/>')
        lines.append(text(x, TOP - 10, f"{10**power:g}", anchor="middle"))
    legend, x = [], LEFT
    for engine in (engine for engine in COLORS if engine in seen):
        legend.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{COLORS[engine]}"/>')
        legend.append(text(x + 14, 39, measured.NAMES[engine]))
        x += 30 + 6 * len(measured.NAMES[engine])
    title = text(LEFT, 18, "Million words, rows or events per second of CPU time, without the startup (logarithmic scale)", size=12)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{y + 10}" fill="#ffffff"/>', title, *legend, *lines, *body, "</svg>\n",
    ])
