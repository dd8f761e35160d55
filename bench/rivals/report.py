"""Writes the tables of `bench/results.md`, between two marks of the page."""

import figures as measured
import jobs

MET = {True: "yes", False: "**no**", None: "?"}
BEGIN, END = "<!-- figures of `make bench-rivals` -->", "<!-- end of figures -->"


def write(page, figures):
    text = page.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{section(figures)}\n{END}{after}")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def number(value):
    if value is None:
        return "?"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def section(figures):
    sizes = figures["sizes"]
    parts = [
        f"Machine: {figures['machine']}. {', '.join(figures['versions'])}. {sizes['events']:,} events, {sizes['rows']:,} rows, "
        f"{sizes['words_mb']} MB of words; the median of {figures['repeats']} runs in turn; {figures['minutes']} minutes in total.",
        "![Events per second of CPU time, by query and engine](../docs/pictures/benchmarks.svg)",
        "**Million words, rows or events per second of CPU time**, one worker, without the startup. `?`: the startup dominates; only more events "
        "would give a rate.",
        rates(figures),
        "**All measurements.** CPU and startup in seconds of CPU time; startup is the same job over 2,000 events. Elapsed time in seconds. Memory: the "
        "maximum of all runs in MiB. Spread: the difference between the slowest and the fastest run, as a share of the median.",
        details(figures),
    ]
    if rows := measured.goals(figures):
        parts += ["**Goals:**", table(["goal", "minimum", "measured", "met"], [(*row[:3], MET[row[3]]) for row in rows])]
    if rows := reasons(figures):
        parts += ["**Not run:**", table(["job", "engine", "reason"], rows)]
    return "\n\n".join(parts)


def columns(figures):
    """The engines and numbers of workers that have figures, in the order of `NAMES`."""
    seen = {key for job in figures["jobs"].values() for key in measured.figures_of(job)[0]}
    order = list(measured.NAMES)
    return sorted(seen, key=lambda key: (key[1], order.index(key[0])))


def label(key):
    engine, workers = key
    return measured.NAMES[engine] + (f", {workers} workers" if workers > 1 else "")


def rates(figures):
    # Only with one worker; `details` has the others.
    keys = [key for key in columns(figures) if key[1] == 1]
    rows = []
    for name, job in figures["jobs"].items():
        found, _ = measured.figures_of(job)
        found = {key: figure for key, figure in found.items() if key in keys}
        best = max((figure.million_per_cpu_s for figure in found.values() if figure.million_per_cpu_s), default=None)
        cells = []
        for key in keys:
            figure = found.get(key)
            cell = number(figure.million_per_cpu_s) if figure else "–"
            cells.append(f"**{cell}**" if figure and best and figure.million_per_cpu_s == best else cell)
        ours, flink = found.get(("millstream", 1)), found.get(("flink-heap", 1))
        speedup = measured.ratio(ours.million_per_cpu_s, flink.million_per_cpu_s) if ours and flink else None
        cells.append(f"{speedup:.1f}" if speedup else "–")
        description = jobs.BY_NAME[name]
        rows.append([f"{description.title}: {description.about}", description.unit, *cells])
    return table(["job", "unit", *(measured.NAMES[engine] for engine, _ in keys), "Millstream relative to Flink, heap"], rows)


def details(figures):
    rows = []
    for name, job in figures["jobs"].items():
        found, _ = measured.figures_of(job)
        for key in columns(figures):
            if figure := found.get(key):
                same = figure.differs or "yes"
                rows.append([
                    jobs.BY_NAME[name].title, label(key), f"{figure.cpu_s:.2f}", f"{figure.start_s:.2f}", f"{figure.wall_s:.2f}",
                    f"{figure.mib:.0f}", f"{figure.spread:.0%}", same.replace("|", "\\|"),
                ])
    return table(["job", "engine", "CPU", "startup", "elapsed", "memory", "spread", "same rows"], rows)


def reasons(figures):
    rows = []
    for name, job in figures["jobs"].items():
        for (engine, workers), reason in measured.figures_of(job)[1].items():
            if reason not in ("little or no state", "only for Nexmark") and workers == 1:
                rows.append([jobs.BY_NAME[name].title, measured.NAMES[engine], reason])
    return rows
