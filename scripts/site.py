#!/usr/bin/env python3
"""Builds the pages of docs/ as a website with search. A broken link is an error.

    PYTHONPATH=$(scripts/pypi.sh mkdocs) scripts/site.py DIR

If a page links to a page outside docs/, the site contains that page, too, below `project/`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# Not part of the site: scripts/docs.py generates pages from these notes.
NOTES = DOCS / "reference" / "notes"
PARTS = [("tutorials", "Tutorials"), ("how-to", "How-to guides"), ("reference", "Reference"), ("explanation", "Explanation")]
NAMES = {"connectors": "Connectors", "stages": "Stages"}
CONFIG = """\
site_name: Millstream
site_description: A stream processor whose user code is WebAssembly
docs_dir: pages
site_dir: site
theme:
  name: material
  font: false
  features: [navigation.indexes, navigation.tabs, navigation.top, content.code.copy, search.highlight]
  palette:
    - {media: "(prefers-color-scheme: light)", scheme: default}
    - {media: "(prefers-color-scheme: dark)", scheme: slate}
extra: {generator: false}
plugins: [search]
validation:
  nav: {omitted_files: warn, not_found: warn, absolute_links: warn}
  links: {not_found: warn, anchors: warn, absolute_links: warn, unrecognized_links: warn}
markdown_extensions:
  - toc: {permalink: true, slugify: !!python/object/apply:pymdownx.slugs.slugify {kwds: {case: lower}}}
  - pymdownx.superfences
  - sane_lists
  - md_in_html
nav: %s
"""
LINK = re.compile(r"(\[(?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*\])\(([^()\s]+)\)")


def is_item(line):
    return re.match(r" *([-*]|\d+\.) ", line) is not None


class Site:
    def __init__(self, directory):
        self.directory = directory
        self.unwritten, self.site_paths = [], {}

    def add(self, path):
        """Adds a page or file to the site if needed. Returns its path in the site."""
        if path not in self.site_paths:
            inside = path.is_relative_to(DOCS)
            site_path = path.relative_to(DOCS) if inside else Path("project") / path.relative_to(ROOT)
            # HTML pages of examples become text files: they need the example's job, and an `index.html` would replace the index page.
            self.site_paths[path] = site_path.with_name(site_path.name + ".txt") if path.suffix == ".html" else site_path
            self.unwritten.append(path)
        return self.site_paths[path]

    def write(self):
        while self.unwritten:
            path = self.unwritten.pop()
            target = self.directory / self.site_paths[path]
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                target.write_text(self.page(path), encoding="utf-8")
            else:
                shutil.copyfile(path, target)

    def page(self, path):
        lines, open_fence = [], False
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("```"):
                open_fence = not open_fence
            elif not open_fence:
                line = LINK.sub(lambda found: self.link(path, found), line)
                # Python-Markdown needs an empty line between a paragraph and a list, and nested items indented by four spaces.
                previous = lines[-1] if lines else ""
                if is_item(line) and previous and not previous.startswith(" ") and not is_item(previous):
                    lines.append("")
                inner = re.match(r" {2,3}(?=[-*] |\d+\. )", line)
                line = "    " + line[inner.end():] if inner else line
            lines.append(line)
        return "\n".join(lines) + "\n"

    def link(self, path, found):
        label, target = found.groups()
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return found[0]
        file, hash_sign, anchor = target.partition("#")
        to = Path(os.path.normpath(path.parent / file))
        if to.is_dir():
            to = to / "README.md"
        if not to.is_file() or not to.is_relative_to(ROOT):
            # A directory without a page becomes plain text. Any other broken link stays, and the generator reports it.
            return label[1:-1] if to.parent.is_dir() and to.name == "README.md" else found[0]
        relative = os.path.relpath(self.add(to), self.add(path).parent)
        return f"{label}({Path(relative).as_posix()}{hash_sign}{anchor})"


def title(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].replace("`", "")
    raise SystemExit(f"site: {path} has no title")


def navigation(site):
    """The pages by part: first in the order in which docs/README.md links to them, then by title."""
    home = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = [Path(os.path.normpath(target.partition("#")[0])) for _, target in LINK.findall(home)]
    titles = {page: title(path) for path, page in site.site_paths.items() if path.suffix == ".md"}
    key = lambda page: (linked.index(page) if page in linked else len(linked), titles[page].lower())

    def section(directory):
        pages = sorted((page for page in titles if page.parent == directory and page.name != "index.md"), key=key)
        index = [page.as_posix() for page in titles if page == directory / "index.md"]
        inner = sorted({page.parents[-len(directory.parts) - 2] for page in titles if directory in page.parents and page.parent != directory})
        return [
            *index,
            *({titles[page]: page.as_posix()} for page in pages),
            *({NAMES.get(one.name, one.name): section(one)} for one in inner),
        ]

    return [
        {"Home": "README.md"},
        *({name: section(Path(directory))} for directory, name in PARTS),
        {"Examples": section(Path("examples"))},
        {"Project": section(Path("project"))},
    ]


def main():
    if len(sys.argv) != 2:
        raise SystemExit("site: missing argument DIR")
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        site = Site(Path(work) / "pages")
        for path in sorted(DOCS.rglob("*.md")):
            if NOTES not in path.parents:
                site.add(path)
        site.write()
        config = Path(work) / "mkdocs.yml"
        config.write_text(CONFIG % json.dumps(navigation(site)), encoding="utf-8")
        # Silences a warning about mkdocs 2.
        environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config]
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        if process.returncode != 0:
            errors = [line for line in process.stderr.splitlines() if not line.startswith("INFO")]
            raise SystemExit("\n".join(errors))
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(Path(work) / "site", out)
    print(f"{out}/index.html")


if __name__ == "__main__":
    main()
