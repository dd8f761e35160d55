#!/usr/bin/env python3
"""Builds the pages of docs/ as a website with search. A link that leads nowhere is an error.

    PYTHONPATH=$(scripts/pypi.sh mkdocs) scripts/site.py FOLDER

Pages outside docs/ that a page links to are part of the site, below `project/`.
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
# Parts of pages that are pages themselves only together with what scripts/docs.py adds.
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
    def __init__(self, folder):
        self.folder = folder
        self.waiting, self.placed = [], {}

    def add(self, path):
        """The place of a page or file in the site."""
        if path not in self.placed:
            inside = path.is_relative_to(DOCS)
            place = path.relative_to(DOCS) if inside else Path("project") / path.relative_to(ROOT)
            # A page of an example is shown as text: it needs the example's job, and `index.html` would be in the way.
            self.placed[path] = place.with_name(place.name + ".txt") if path.suffix == ".html" else place
            self.waiting.append(path)
        return self.placed[path]

    def write(self):
        while self.waiting:
            path = self.waiting.pop()
            target = self.folder / self.placed[path]
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
                # A list may follow a paragraph without an empty line, but not for this generator. It also wants items of lists
                # in lists further in.
                before = lines[-1] if lines else ""
                if is_item(line) and before and not before.startswith(" ") and not is_item(before):
                    lines.append("")
                inner = re.match(r" {2,3}(?=[-*] |\d+\. )", line)
                line = "    " + line[inner.end():] if inner else line
            lines.append(line)
        return "\n".join(lines) + "\n"

    def link(self, path, found):
        words, target = found.groups()
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return found[0]
        file, hash_sign, anchor = target.partition("#")
        to = Path(os.path.normpath(path.parent / file))
        if to.is_dir():
            to = to / "README.md"
        if not to.is_file() or not to.is_relative_to(ROOT):
            # The generator says that it leads nowhere. A folder without a page of its own is only named.
            return words[1:-1] if to.parent.is_dir() and to.name == "README.md" else found[0]
        relative = os.path.relpath(self.add(to), self.add(path).parent)
        return f"{words}({Path(relative).as_posix()}{hash_sign}{anchor})"


def title(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].replace("`", "")
    raise SystemExit(f"site: {path} has no title")


def navigation(site):
    """The pages by part: in the order in which the first page links to them, and then by title."""
    first = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = [Path(os.path.normpath(target.partition("#")[0])) for _, target in LINK.findall(first)]
    places = {place: title(path) for path, place in site.placed.items() if path.suffix == ".md"}
    key = lambda place: (linked.index(place) if place in linked else len(linked), places[place].lower())

    def section(folder):
        here = sorted((place for place in places if place.parent == folder and place.name != "index.md"), key=key)
        index = [place.as_posix() for place in places if place == folder / "index.md"]
        inner = sorted({place.parents[-len(folder.parts) - 2] for place in places if folder in place.parents and place.parent != folder})
        return [
            *index,
            *({places[place]: place.as_posix()} for place in here),
            *({NAMES.get(one.name, one.name): section(one)} for one in inner),
        ]

    return [
        {"Home": "README.md"},
        *({name: section(Path(folder))} for folder, name in PARTS),
        {"Examples": section(Path("examples"))},
        {"Project": section(Path("project"))},
    ]


def main():
    if len(sys.argv) != 2:
        raise SystemExit("site: which folder?")
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        site = Site(Path(work) / "pages")
        for path in sorted(DOCS.rglob("*.md")):
            if NOTES not in path.parents:
                site.add(path)
        site.write()
        config = Path(work) / "mkdocs.yml"
        config.write_text(CONFIG % json.dumps(navigation(site)), encoding="utf-8")
        # The warning is about the generator's next version.
        environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        if ended.returncode != 0:
            wrong = [line for line in ended.stderr.splitlines() if not line.startswith("INFO")]
            raise SystemExit("\n".join(wrong))
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(Path(work) / "site", out)
    print(f"{out}/index.html")


if __name__ == "__main__":
    main()
