"""The native loop that word count is compared with: a Rust program for only this job. `make bench` measures it."""

import re
import subprocess


def words(program, log):
    """The speed of the loop in million words/s, or None if the benchmark is not built next to the program, or fails."""
    bench = program.with_name("millstream-bench")
    if not bench.exists():
        return None
    with open(log, "w+") as out:
        subprocess.run([bench, "words"], stdout=out, stderr=out)
        out.seek(0)
        found = re.search(r"native loop, million words a second +([\d.]+)", out.read())
    return float(found.group(1)) if found else None
