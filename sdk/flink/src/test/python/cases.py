"""Prints the cases of tests/conformance as one JSON document, each with the components to test.

    cases.py <directory of the conformance plugins> <language>=<plugin>=<component>…
"""

import json
import sys
import tomllib
from pathlib import Path


def lines(file: Path) -> list | None:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else None


def case(folder: Path) -> dict:
    settings = tomllib.loads((folder / "case.toml").read_text(encoding="utf-8"))
    error = folder / "expected-error.txt"
    inputs = [given["name"] for given in settings.get("inputs", [])] or ["input"]
    return {
        "name": folder.name,
        "folder": str(folder.resolve()),
        "told": settings,
        "inputs": [lines(folder / f"{name}.jsonl") for name in inputs],
        "rows": lines(folder / "expected.jsonl"),
        "rejected": lines(folder / "expected-rejected.jsonl"),
        "error": error.read_text(encoding="utf-8").strip() if error.is_file() else None,
    }


root = Path(sys.argv[1])
components = []
for named in sys.argv[2:]:
    language, plugin, component = named.split("=", 2)
    cases = [case(folder) for folder in sorted((root / plugin / "cases").iterdir())]
    components.append({"language": language, "plugin": plugin, "component": component, "cases": cases})
json.dump(components, sys.stdout, ensure_ascii=False)
