"""Validates every job of the project, in files and in code blocks of pages, against the schema of `millstream schema`, with a standard
validator. Arguments: the schema, then files and directories to search. Prints the errors and the number of jobs."""

import json
import pathlib
import re
import sys
import tomllib

import jsonschema

schema = json.loads(pathlib.Path(sys.argv[1]).read_text())
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
validator = kind(schema)
jobs = errors = 0


def check(name: str, text: str) -> None:
    """Validates a job. Skips other TOML files and parts of jobs: a job has sources and sinks."""
    global jobs, errors
    try:
        job = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    if not all(isinstance(job.get(part), dict) for part in ("sources", "sinks")):
        return
    jobs += 1
    for error in validator.iter_errors(job):
        errors += 1
        print(f"{name}: {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")


for place in map(pathlib.Path, sys.argv[2:]):
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.suffix == ".toml" and path.is_file():
            check(str(path), path.read_text())
        if path.suffix == ".md" and path.is_file():
            for number, block in enumerate(re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL)):
                check(f"{path}, block {number + 1}", block)
print(f"{jobs} jobs, {errors} errors")
