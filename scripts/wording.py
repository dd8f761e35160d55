#!/usr/bin/env python3
"""Checks the wording of docs and messages. `make lint` runs it.

    scripts/wording.py

Reports every phrase of PHRASES in a page, or in a string of the host's sources, and fails if there is one.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Phrases that are unclear, and what to write instead.
PHRASES = {
    r"\bmend(s|ed|ing)?\b": "fix, correct",
    r"\bwho the job is\b": "credentials, client ID",
    r"\bwho asks\b": "the caller, its credentials",
    r"\bput(s|ting)? out\b": "emit, write",
    r"\bgives? (its |the )?rows back\b": "retry rejected rows",
    r"\bputs? rows back\b": "retry rejected rows",
    r"\ba (file|row|table|message|line|topic) a (batch|row|message)\b": "one file per batch",
    r"\b(rows|records|lines|messages|events) a second\b": "rows/s",
    r"\bas many (rows|times|bytes) as asked\b": "the requested number",
    r"\bis there already\b": "already exists",
    r"\bis not there\b": "does not exist, is missing",
    r"\bwho(m)?ever\b": "the user, the client, or passive",
    r"\bsomebody\b": "a user, a client, or passive",
    r"\bnobody\b": "no one; as a value: none",
    r"\bhow the job stands\b": "job status",
    r"\bwhat holds it up\b": "bottleneck",
    r"\bgo(es|ing)? on where\b": "resume",
    r"\bbegin(s|ning)? an?ew\b": "start from scratch",
    r"\bfor ever\b": "indefinitely",
    r"\bat work\b": "busy",
}


def pages() -> list[Path]:
    """The pages that users read."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "demo/README.md", "sdk/README.md")]
    for directory in ("docs", "host/connectors/notes", "host/engine/notes", "plugins", "sdk"):
        found += [page for page in sorted((ROOT / directory).rglob("*.md")) if "node_modules" not in page.parts and "target" not in page.parts]
    return sorted({page for page in found if page.is_file()})


def strings(file: Path) -> list[tuple[int, str]]:
    """The string literals of a Rust file with their line numbers. Skips comments."""
    source = file.read_text(encoding="utf-8", errors="replace")
    found = []
    pattern = re.compile(r'//[^\n]*|r#"(?P<raw>.*?)"#|b?"(?P<text>(?:[^"\\]|\\.)*)"|\'(?:[^\'\\]|\\.)\'', re.DOTALL)
    for match in pattern.finditer(source):
        text = match["text"] or match["raw"]
        if text:
            found.append((source.count("\n", 0, match.start()) + 1, re.sub(r"\\\n\s*", "", text)))
    return found


def sources() -> list[Path]:
    tests = re.compile(r"(^|/)(tests?|absent|benches)(/|\.rs$|_tests\.rs$)|_tests\.rs$")
    return [file for file in sorted((ROOT / "host").rglob("*.rs")) if not tests.search(file.relative_to(ROOT).as_posix())]


def main() -> None:
    findings = 0
    for page in pages():
        in_code = False
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if line.lstrip().startswith("```"):
                in_code = not in_code
            if in_code:
                continue
            for phrase, better in PHRASES.items():
                if match := re.search(phrase, line, re.IGNORECASE):
                    print(f"{page.relative_to(ROOT)}:{number}: `{match[0]}`: write {better}")
                    findings += 1
    for file in sources():
        for number, text in strings(file):
            for phrase, better in PHRASES.items():
                if match := re.search(phrase, text, re.IGNORECASE):
                    print(f"{file.relative_to(ROOT)}:{number}: `{match[0]}` in {text[:100]!r}: write {better}")
                    findings += 1
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
