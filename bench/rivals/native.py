"""The loop that word count is compared with: what a Rust programmer writes who needs only this one job. `make bench` measures it."""

import re
import subprocess


def words(program, log):
    """Million words a second of it, or None where the benchmarks are not built beside the program or fail."""
    bench = program.with_name("millstream-bench")
    if not bench.exists():
        return None
    with open(log, "w+") as out:
        subprocess.run([bench, "words"], stdout=out, stderr=out)
        out.seek(0)
        found = re.search(r"native loop, million words a second +([\d.]+)", out.read())
    return float(found.group(1)) if found else None
