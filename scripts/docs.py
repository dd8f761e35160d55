#!/usr/bin/env python3
"""Generates the reference pages of docs/ from the program and from hand-written notes.

    scripts/docs.py PROGRAM            writes the pages
    scripts/docs.py PROGRAM --check    fails and lists the pages that are out of date

PROGRAM is a built `millstream`. The tables come from `PROGRAM schema`, the help of its commands, `wit/`, and the list of metrics in
`host/src/page/prometheus.rs`. The text comes from notes: `host/connectors/notes/<kind>.md`, `host/engine/notes/<operator>.md` and
`docs/reference/notes/<page>.md`. A link in a note is relative to the page that is generated from it.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CONNECTOR_NOTES = "host/connectors/notes"
OPERATOR_NOTES = "host/engine/notes"
PAGE_NOTES = "docs/reference/notes"
METRICS = "host/src/page/prometheus.rs"
SECTIONS_OF_CONNECTORS = ["Example", "Keys", "Guarantee", "Formats", "Behavior", "Errors"]
SECTIONS_OF_OPERATORS = ["Example", "Keys", "Order of output", "State", "Behavior", "Errors"]
# Where a note puts the generated tables of its page. Without this mark they come last.
MARK = "<!-- generated -->"
ROLES = ["source", "sink"]
# Kinds that share the page of another kind.
SHARED_PAGES = {"raw-socket": "socket"}
# Tables of plugin keys that have their own page.
PAGES_OF_TABLES = {"limits": "plugin-limits.md", "grant": "plugin-limits.md"}

# The keys of each operator, except those of every stage. The schema assigns keys to plugins only.
PLUGIN_KEYS = [
    "key", "config", "emit", "on", "timeout", "initial", "instance", "inverse", "limits", "grant", "on_error", "max_rejected", "replayable",
]
KEYS_OF_OPERATORS = {
    "plugin": PLUGIN_KEYS,
    "aggregate": ["key", "op", "emit", "inverse"],
    "sql": ["key", "op", "functions", "limits"],
    "join": ["op"],
    "cogroup": ["plugin", *PLUGIN_KEYS],
    "enrich": [],
    "top": ["key", "op"],
    "latest": ["key", "op"],
    "distinct": [],
    "deduplicate": ["key"],
    "pattern": ["key"],
    "sample": [],
    "split": [],
    "repartition": ["key"],
}
REQUIRED_BY_OPERATORS = {"latest": ["key"]}
KEYS_OF_EVERY_STAGE = ["from", "filter", "select", "window", "time", "lateness", "idle", "ahead_max", "emit"]

# Sources that read several partitions, each with its own position: what the partitions are.
PARTITIONS = {
    "kafka": "topic partitions, across all processes",
    "redis": "streams, across all processes",
    "nats": "streams, across all processes",
    "rabbitmq": "queues or streams, across all processes",
    "flight": "parts of the stream",
    "kinesis": "shards, across all processes",
    "plugin": "the plugin's, across all processes",
    "directory": "files, read one at a time",
    "socket": "servers, across all processes",
    "raw-socket": "servers, across all processes",
}
# What a kill of the job loses, by the first words of the guarantee.
LOST_BY_GUARANTEE = [
    ("exactly once after a batch is planned", "rows not in a planned batch"),
    ("by connected clients", "rows that no client received"),
    ("not at all", "all"),
]
# Additional labels of plugin metrics.
LABELS_OF_PLUGINS = {
    "millstream_plugin_counter": ["counter"],
    "millstream_plugin_calls": ["plugin", "version"],
    "millstream_plugin_cpu_seconds": ["plugin", "version"],
    "millstream_plugin_failures": ["plugin", "version", "kind"],
}


class DocsError(Exception):
    """A reason why a page cannot be generated."""


# Notes -----------------------------------------------------------------------------------------------------------------


class Note:
    """A note: its first paragraphs, and its sections by heading."""

    def __init__(self, root, path, allowed=None):
        self.path = path
        try:
            self.text = (root / path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DocsError(f"{path} is missing") from None
        self.intro, self.sections = "", {}
        for heading, text in split_at(self.text, "## "):
            if not heading:
                self.intro = text
            elif allowed is not None and heading not in allowed:
                raise DocsError(f"{path}: unknown section `{heading}`; write one of {', '.join(allowed)}")
            elif heading in self.sections:
                raise DocsError(f"{path}: duplicate section `{heading}`")
            else:
                self.sections[heading] = text
        if allowed is not None:
            in_order = [heading for heading in allowed if heading in self.sections]
            if list(self.sections) != in_order:
                raise DocsError(f"{path}: wrong order of sections; write {', '.join(in_order)}")
            if not self.intro:
                raise DocsError(f"{path}: the first paragraph is missing")

    def summary(self):
        """The first sentence, on one line."""
        first = " ".join(self.intro.split("\n\n")[0].split())
        return re.split(r"(?<=[.:]) (?=[A-Z`\[])", first)[0]


def split_at(text, mark):
    """Splits a text at its headings into (heading, text). The text before the first heading has an empty heading."""
    parts, open_fence = [("", [])], False
    for line in text.splitlines():
        if line.startswith("```"):
            open_fence = not open_fence
        if line.startswith(mark) and not open_fence:
            parts.append((line[len(mark):].strip(), []))
        else:
            parts[-1][1].append(line)
    return [(heading, "\n".join(lines).strip()) for heading, lines in parts]


def by_role(text):
    """Splits a section by role: the text for all roles, and the texts below `### Source` and `### Sink`."""
    texts = {"": "", "source": "", "sink": ""}
    last = ""
    for heading, part in split_at(text, "### "):
        role = heading.lower()
        if role in texts:
            last = role
            texts[role] = join_text([texts[role], part])
        else:
            texts[last] = join_text([texts[last], f"### {heading}\n\n{part}"])
    return texts


def join_text(parts):
    return "\n\n".join(part for part in parts if part)


# Markdown --------------------------------------------------------------------------------------------------------------


def escaped(text):
    """Converts plain text, which may contain `code`, to Markdown for a table cell."""
    out = []
    for at, part in enumerate(" ".join(text.split()).split("`")):
        if at % 2:
            out.append("`" + part + "`")
        else:
            out.append(re.sub(r"([\\*_<>\[\]])", r"\\\1", part))
    return "".join(out).replace("|", "\\|")


def code(text):
    return "`" + text.replace("|", "\\|") + "`"


def table(head, rows):
    """A Markdown table without the columns that are empty in all rows."""
    used = [at for at in range(len(head)) if any(row[at] for row in rows)]
    line = lambda cells: "| " + " | ".join(cells[at] for at in used) + " |"
    return "\n".join([line(head), "|" + "---|" * len(used), *map(line, rows)])


# The schema ------------------------------------------------------------------------------------------------------------


def is_variable(shape):
    return shape.get("type") == "string" and shape.get("pattern") == "\\$\\{[^}]+\\}"


def alternatives(shape):
    if "anyOf" not in shape:
        return [shape]
    return [inner for one in shape["anyOf"] for inner in alternatives(one) if not is_variable(inner)]


def type_of(shape):
    """The type of a key, for readers."""
    all_of_it = alternatives(shape)
    names = [plain_type(one) for one in all_of_it]
    patterns = [one.get("pattern", "") for one in all_of_it]
    if any("KiB" in pattern for pattern in patterns):
        names = ["size"]
    elif any(pattern.startswith("^([0-9]{1,2}") for pattern in patterns):
        names = ["rows or share"]
    unique = list(dict.fromkeys(names))
    words = [name for name in unique if name.startswith("`")]
    others = [name for name in unique if not name.startswith("`")]
    return escape_pipes(" or ".join([*others, *([", ".join(words)] if words else [])]))


def escape_pipes(text):
    return text.replace("|", "\\|")


def plain_type(shape):
    pattern = shape.get("pattern", "")
    if "enum" in shape:
        return ", ".join(f"`{word}`" for word in shape["enum"])
    if "us|ms|s|m|h|d" in pattern:
        return "duration"
    match shape.get("type"):
        case "string":
            return "`host:port`" if "{1,5}" in pattern else "string"
        case "array":
            return f"list of {plural(type_of(shape.get('items', {})))}"
        case "object":
            of = shape.get("additionalProperties")
            if "properties" not in shape and isinstance(of, dict):
                inner = alternatives(of)
                kinds = {plain_type(one) for one in inner}
                return f"table of {plural(kinds.pop())}" if len(kinds) == 1 else "table"
            return "table"
        case None:
            return "any value"
        case name:
            return name


def plural(name):
    return {"`host:port`": "`host:port`", "list of strings": "lists"}.get(name, name if name.startswith("`") else name + "s")


VALUE = r'(?:`[^`]+`|"[^"]+"|-?[0-9][0-9.]*(?: ?%|[a-zA-Z]+)?|[A-Z]{3,}|[Nn]one|[Nn]ever|[Uu]nlimited|true|false)'


def default_of(description):
    """The default value in a description, if there is exactly one, in an unambiguous form."""
    if description.count("default") != 1:
        return ""
    forms = [
        rf"(?:^|[ (])({VALUE}) by default(?:[.,;:]|$)",
        rf"({VALUE}) \((?:the )?default\b",
        rf"({VALUE}), the default[.,;:)]",
    ]
    found = [match for form in forms for match in re.findall(form, description)]
    if len(found) != 1:
        return ""
    value = found[0].strip("`\"")
    # These words are not code.
    return value.lower() if value.lower() in ("none", "never", "unlimited") else code(value)


def row_of(name, description, shape, required):
    default = "required" if required else default_of(description)
    return [code(name), type_of(shape), default, escaped(description)]


def rows_of(name, description, shape, required, up, columns=None):
    """The row of a key and the rows of its inner keys. `up` is the relative path to the directory of the reference pages. `columns` is
    what the rule of a kind adds to the keys of a column."""
    row = row_of(name, description, shape, required)
    page = PAGES_OF_TABLES.get(name.split(".")[-1])
    if page:
        row[3] += f" See [Plugin limits]({up}{page})."
        return [row]
    rows = [row]
    for one in alternatives(shape):
        if one.get("type") != "object":
            continue
        inside, prefix = one, name
        of = one.get("additionalProperties")
        if "properties" not in one and isinstance(of, dict):
            # A table whose keys are names that the user chooses.
            inside = next((other for other in alternatives(of) if "properties" in other), {})
            prefix = f"{name}.<name>"
        for key, inner in inside.get("properties", {}).items():
            added = (columns or {}).get(key, {})
            if added is False:
                continue
            text = added.get("description") or inner.get("description", "")
            rows += rows_of(f"{prefix}.{key}", text, inner, key in inside.get("required", []), up)
    return rows


KEY_HEAD = ["Key", "Type", "Default", "Description"]


def sorted_rows(rows):
    """Sorts required keys first, then by name."""
    return sorted(rows, key=lambda one: (one[0][2] != "required", one[0][0]))


class Schema:
    def __init__(self, program):
        self.program = program
        self.job = json.loads(run_program(program, "schema"))
        self.parts = {role: self.job["properties"][f"{role}s"]["additionalProperties"] for role in ROLES}
        self.stage = self.job["properties"]["stages"]["additionalProperties"]
        self.kinds = {role: part["properties"]["kind"]["anyOf"][0]["enum"] for role, part in self.parts.items()}

    def rule(self, role, kind):
        rules = self.parts[role]["allOf"]
        return next(rule["then"] for rule in rules if rule["if"]["properties"]["kind"]["const"] == kind)

    def takes(self, role, kind, key):
        return key in self.parts[role]["properties"] and self.rule(role, kind)["properties"].get(key) is not False

    def key(self, role, kind, name):
        """What the schema says of a key for one kind: description, shape, and what its rule adds to the keys of a column."""
        key = self.parts[role]["properties"][name]
        own = self.rule(role, kind)["properties"].get(name, {})
        description = own.get("description") or re.sub(r" For kind [a-z0-9, -]+\.$", "", key.get("description", ""))
        columns = own.get("additionalProperties", {}).get("properties") if name == "schema" else None
        return description, own if {"type", "anyOf"} & own.keys() else key, columns

    def key_table(self, role, kind):
        required = {*self.parts[role].get("required", []), *self.rule(role, kind).get("required", [])}
        groups = []
        for name in self.parts[role]["properties"]:
            if name == "kind" or not self.takes(role, kind, name):
                continue
            description, shape, columns = self.key(role, kind, name)
            rows = rows_of(name, description, shape, name in required, "../", columns)
            if name == "format":
                rows[0][1] = ", ".join(code(word) for word in self.formats(role, kind)) or rows[0][1]
            groups.append(rows)
        return table(KEY_HEAD, [row for group in sorted_rows(groups) for row in group])

    def formats(self, role, kind):
        """The formats of a kind; empty if the kind has columns instead, or if a plugin decides."""
        if not self.takes(role, kind, "format") or kind in ("postgres-changes", "flight", "queue"):
            return []
        if role == "sink":
            return self.formats_of_sink(kind)
        shape = self.key(role, kind, "format")[1]
        return next(one["enum"] for one in alternatives(shape) if "enum" in one)

    def formats_of_sink(self, kind):
        """The formats that the program lists in its error about an unknown format."""
        job = '[sources.a]\nkind = "rate"\nrows_per_second = 1\n[sinks.b]\nfrom = "a"\nkind = "%s"\nformat = "nosuch"\n' % kind
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "job.toml"
            path.write_text(job, encoding="utf-8")
            process = subprocess.run([self.program, "validate", str(path)], capture_output=True, text=True)
        found = re.search(r'`format = "nosuch"` is unknown; write one of: (.*)', process.stderr)
        if not found:
            raise DocsError(f"the program does not list the formats of `{kind}` sinks: {process.stderr}")
        return re.findall(r"`([a-z]+)`", found[1])

    def formats_in_words(self, role, kind):
        if kind == "plugin":
            return "the plugin's"
        if kind == "queue" and role == "source":
            return "json"
        return ", ".join(self.formats(role, kind)) or "columns"


# Pages -----------------------------------------------------------------------------------------------------------------


def run_program(program, *arguments):
    process = subprocess.run([program, *arguments], capture_output=True, text=True)
    if process.returncode != 0:
        raise DocsError(f"{program} {' '.join(arguments)}: {process.stderr.strip()}")
    return process.stdout


def page(title, sources, parts):
    """A page with a comment at the top that lists its sources."""
    comment = f"<!-- Generated by scripts/docs.py from {', '.join(sources)}. Do not edit. -->"
    return join_text([comment, f"# {title}", *parts]) + "\n"


def read_guarantees(root, schema):
    """The rows of the guarantee tables by role: (first cell, kind, guarantee, reason)."""
    note = Note(root, f"{CONNECTOR_NOTES}/guarantees.md")
    found, role = {}, None
    for line in note.text.splitlines():
        head = re.match(r"\| (source|sink) \|", line)
        if head:
            role = head[1]
            found[role] = []
        elif not line.startswith("|"):
            role = None
        elif role and not line.startswith("|---"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|", 2)]
            kinds = [word for word in cells[0].split("`")[1::2] if word in schema.kinds[role]]
            if len(cells) != 3 or not kinds:
                raise DocsError(f"{note.path}: {line}")
            found[role].append((cells[0], kinds[0], cells[1], cells[2]))
    for role in ROLES:
        documented, kinds = {row[1] for row in found.get(role, [])}, set(schema.kinds[role])
        if documented != kinds:
            raise DocsError(f"{note.path}: the kinds of each {role} differ from the program's: {sorted(documented ^ kinds)}")
    return found


def read_rates(root):
    """The measured rates by (connector, role), and the paragraphs above them."""
    note = Note(root, f"{CONNECTOR_NOTES}/rates.md")
    found = {}
    for line in note.text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and cells[1] in ROLES:
            found[(cells[0], cells[1])] = cells[2]
    paragraphs = join_text(part for part in note.text.split("\n\n") if not part.startswith("|"))
    return found, paragraphs.strip()


def kind_page(root, schema, guarantees, kind):
    path = f"{CONNECTOR_NOTES}/{kind}.md"
    note = Note(root, path, SECTIONS_OF_CONNECTORS)
    kinds = [kind, *(other for other, shown in SHARED_PAGES.items() if shown == kind)]
    parts = [(role, one) for one in kinds for role in ROLES if one in schema.kinds[role]]
    sections = dict(note.sections)

    notes = by_role(sections.get("Keys", ""))
    keys = [notes[""]]
    for role, one in parts:
        if len(parts) > 1:
            keys.append(f"### Keys of the {role}" if len(kinds) == 1 else f"### Keys of `{one}`")
        keys += [notes[role] if one == kind else "", schema.key_table(role, one)]
    sections["Keys"] = join_text(keys)

    rows = []
    for role, one in parts:
        rows += [[cell, role, often, why] for cell, of, often, why in guarantees[role] if of == one]
    head = ["Connector", "As", "Rows", "Why"]
    sections["Guarantee"] = join_text([table(head, rows), sections.get("Guarantee", "")])

    lines = []
    for role, one in parts:
        formats = schema.formats(role, one)
        if formats:
            name = f"The {role}" if len(kinds) == 1 else f"`{one}`"
            verb = {"source": "reads", "sink": "writes"}[role]
            lines.append(f"{name} {verb} " + ", ".join(f"`{word}`" for word in formats) + ".")
    if lines:
        lines.append("See [Formats](../formats.md).")
        sections["Formats"] = join_text([" ".join(lines), sections.get("Formats", "")])

    title = " and ".join(kinds)
    body = [f"## {heading}\n\n{sections[heading]}" for heading in SECTIONS_OF_CONNECTORS if sections.get(heading)]
    roles = list(dict.fromkeys(role for role, _ in parts))
    if len(kinds) == 1:
        label = f"`{kind}` is " + " and ".join(f"a {role}" for role in roles) + "."
    else:
        label = " and ".join(f"`{one}`" for one in kinds) + " are " + " and ".join(f"{role}s" for role in roles) + "."
    sources = [path, f"{CONNECTOR_NOTES}/guarantees.md", "`millstream schema`"]
    return page(title, sources, [note.intro, label, *body])


def page_of(kind):
    return SHARED_PAGES.get(kind, kind)


def link_kind(cell, kinds, kinds_of_role):
    """A cell of the matrix in which the first kind links to its page."""
    kind = next((word for word in cell.split("`")[1::2] if word in kinds_of_role), None)
    return cell.replace(f"`{kind}`", f"[`{kind}`]({page_of(kind)}.md)", 1) if kind in kinds else cell


def connectors_index(root, schema, guarantees):
    note = Note(root, f"{CONNECTOR_NOTES}/index.md")
    measured, about_rates = read_rates(root)
    kinds = {kind for role in ROLES for kind in schema.kinds[role]}
    rows, used = [], set()
    for role in ROLES:
        for cell, kind, often, _ in guarantees[role]:
            if (cell, role) not in measured:
                raise DocsError(f"{CONNECTOR_NOTES}/rates.md has no row for {cell} as a {role}")
            used.add((cell, role))
            lost = next((loss for start, loss in LOST_BY_GUARANTEE if often.startswith(start)), "nothing")
            partitions = PARTITIONS.get(kind, "one") if role == "source" else ""
            formats = schema.formats_in_words(role, kind)
            rows.append([link_kind(cell, kinds, schema.kinds[role]), role, often, formats, partitions, lost, measured[(cell, role)]])
    if set(measured) != used:
        raise DocsError(f"{CONNECTOR_NOTES}/rates.md has rows without a guarantee: {sorted(set(measured) - used)}")
    head = ["Connector", "As", "Rows", "Formats", "Partitions", "A kill loses", "Measured rate"]
    sources = [f"{CONNECTOR_NOTES}/index.md", "guarantees.md", "rates.md", "`millstream schema`"]
    return page("Connectors", sources, [insert_tables(note.text.strip(), join_text([table(head, rows), about_rates]))])


def insert_tables(text, tables):
    """A note's text with the tables at its mark, or at the end."""
    return text.replace(MARK, tables, 1) if MARK in text else join_text([text, tables])


def check_operators(schema):
    """Checks that the lists of operators and keys in this file agree with the schema."""
    pairs = [set(one["required"]) for one in schema.stage["not"]["anyOf"]]
    of_schema = set().union(*pairs)
    if of_schema != set(KEYS_OF_OPERATORS):
        raise DocsError(f"the operators in scripts/docs.py and in the schema differ: {sorted(of_schema ^ set(KEYS_OF_OPERATORS))}")
    listed = {key for keys in KEYS_OF_OPERATORS.values() for key in keys} | set(KEYS_OF_OPERATORS) | set(KEYS_OF_EVERY_STAGE)
    if listed != set(schema.stage["properties"]):
        raise DocsError(f"the keys of stages in scripts/docs.py and in the schema differ: {sorted(listed ^ set(schema.stage['properties']))}")
    of_plugins = {key for key, needs in schema.stage["dependentRequired"].items() if needs == ["plugin"]}
    if not of_plugins <= set(PLUGIN_KEYS):
        raise DocsError(f"PLUGIN_KEYS in scripts/docs.py lacks keys: {sorted(of_plugins - set(PLUGIN_KEYS))}")


def stage_rows(schema, names, required, operator=None):
    own = schema.stage["dependentSchemas"].get(operator, {}).get("properties", {})
    groups = []
    for name in names:
        key = schema.stage["properties"][name]
        description = own.get(name, key).get("description", "")
        groups.append(rows_of(name, description, key, name in required, "../"))
    return groups


def operator_page(root, schema, operator):
    path = f"{OPERATOR_NOTES}/{operator}.md"
    note = Note(root, path, SECTIONS_OF_OPERATORS)
    sections = dict(note.sections)
    needs = schema.stage["dependentRequired"].get(operator, [])
    required = {operator, *needs, *REQUIRED_BY_OPERATORS.get(operator, [])}
    names = KEYS_OF_OPERATORS[operator] + [key for key in needs if key not in KEYS_OF_OPERATORS[operator]]
    if operator == "cogroup":
        names = ["plugin", "key"]
    first = stage_rows(schema, [operator], required)
    rest = sorted_rows(stage_rows(schema, names, required, operator))
    rows = [row for group in first + rest for row in group]
    more = "The other keys of plugins are those of [`plugin`](plugin.md#keys). " if operator == "cogroup" else ""
    more += "All stages also take the [keys of every stage](index.md#keys-of-every-stage)."
    sections["Keys"] = join_text([sections.get("Keys", ""), table(KEY_HEAD, rows), more])
    body = [f"## {heading}\n\n{sections[heading]}" for heading in SECTIONS_OF_OPERATORS if sections.get(heading)]
    return page(operator, [path, "`millstream schema`"], [note.intro, *body])


def stages_index(root, schema):
    rows = []
    for operator in sorted(KEYS_OF_OPERATORS):
        note = Note(root, f"{OPERATOR_NOTES}/{operator}.md", SECTIONS_OF_OPERATORS)
        rows.append([f"[`{operator}`]({operator}.md)", note.summary()])
    own = table(["Operator", "What it does"], rows)
    every = table(KEY_HEAD, [row for group in stage_rows(schema, KEYS_OF_EVERY_STAGE, {"from"}) for row in group])
    path = f"{OPERATOR_NOTES}/index.md"
    note = Note(root, path)
    tables = join_text([own, "## Keys of every stage", every])
    return page("Stages", [path, "the notes of operators", "`millstream schema`"], [insert_tables(note.text.strip(), tables)])


def job_file_page(root, schema):
    path = f"{PAGE_NOTES}/job-file.md"
    note = Note(root, path)
    sections = {"sources", "stages", "sinks"}
    tables = {"checkpoint", "state"}
    required = schema.job["required"]
    links = {
        "sources": "See [Connectors](connectors/index.md).",
        "sinks": "See [Connectors](connectors/index.md).",
        "stages": "See [Stages](stages/index.md).",
    }
    top = []
    for name, key in schema.job["properties"].items():
        row = row_of(name, key.get("description", ""), key, name in required)
        if name in sections:
            row[3] += " " + links[name]
        elif name in tables:
            row[3] += f" See [`[{name}]`](#{name})."
        top.append([row])
    parts = ["## Top level", table(KEY_HEAD, [row for group in sorted_rows(top) for row in group])]
    for name in sorted(tables):
        inside = schema.job["properties"][name]
        groups = [
            rows_of(key, value.get("description", ""), value, key in inside.get("required", []), "")
            for key, value in inside["properties"].items()
        ]
        parts += [f"## `[{name}]`", table(KEY_HEAD, [row for group in sorted_rows(groups) for row in group])]
    return page("The job file", [path, "`millstream schema`"], [insert_tables(note.text.strip(), join_text(parts))])


def join_paragraphs(lines):
    """The paragraphs of a help text on one line, with a period between two of them."""
    paragraphs = []
    for is_text, group in itertools.groupby(lines, lambda line: bool(line.strip())):
        if is_text:
            words = [" ".join(line.split()) for line in group]
            # A list of values is one paragraph.
            items = (word[2:].partition(": ") for word in words if word.startswith("- "))
            values = "; ".join(f"`{name}`: {meaning}" for name, _, meaning in items)
            paragraphs.append(" ".join([*(word for word in words if not word.startswith("- ")), values]).strip())
    text = ""
    for paragraph in paragraphs:
        # `[default: …]` belongs to the sentence before it.
        text = f"{text if paragraph.startswith('[') else with_period(text)} {paragraph}".strip() if text else paragraph
    return text


def with_period(text):
    return text if text.endswith((".", "!", "?", ":")) else text + "."


class Help:
    """The parsed output of a command's `--help`."""

    def __init__(self, program, words):
        self.words = words
        lines = run_program(program, *words, "--help").rstrip().splitlines()
        about, self.usage, self.lists, self.rest = [], "", {}, []
        heading = None
        for line in lines:
            if line.startswith("Usage: "):
                self.usage, heading = line[len("Usage: "):], "after usage"
            elif heading is None:
                about.append(line)
            elif re.fullmatch(r"[A-Z][A-Za-z ]*:", line) and (line[:-1] in ("Arguments", "Options", "Commands")):
                heading = line[:-1]
                self.lists[heading] = []
            elif heading in self.lists and (line.startswith("  ") or not line.strip()):
                self.add_line(self.lists[heading], line)
            elif line.strip():
                heading = "after"
                self.rest.append(line)
            elif heading == "after":
                self.rest.append("")
        self.about = join_paragraphs(about)
        self.lists = {heading: [(name, join_paragraphs(texts)) for name, texts in entries] for heading, entries in self.lists.items()}

    def add_line(self, entries, line):
        """Adds a line of a list: the start of an entry, or more of its text."""
        found = re.match(r"^ {2,6}(?=\S)(.*?)(?:  +(.*))?$", line)
        if found:
            entries.append((found[1].strip(), [found[2] or ""]))
        elif entries:
            entries[-1][1].append(line)
        elif line.strip():
            raise DocsError(f"{self.words}: {line}")


def help_tree(program, words=()):
    """A command and its subcommands, in the order in which the program lists them."""
    help_of = Help(program, words)
    tree = [help_of]
    for name, _ in help_of.lists.get("Commands", []):
        if name != "help":
            tree += help_tree(program, (*words, name))
    return tree


def cli_page(root, program):
    path = f"{PAGE_NOTES}/cli.md"
    note = Note(root, path)
    tree = help_tree(program)
    names = lambda one: "millstream " + " ".join(one.words)
    # In the anchor of a heading, spaces become `-`.
    anchor = lambda one: names(one).replace(" ", "-")
    commands = [one for one in tree if one.words]
    rows = [[f"[`{names(one)}`](#{anchor(one)})", escaped(one.about)] for one in commands]
    parts = ["## Commands", table(["Command", "What it does"], rows)]
    for one in commands:
        parts += [f"## {names(one)}", escaped(with_period(one.about)), f"Usage: {code(one.usage)}"]
        for heading in ("Arguments", "Options"):
            entries = [entry for entry in one.lists.get(heading, []) if not entry[0].startswith("-h, --help")]
            if entries:
                rows = [[code(name), escaped(words)] for name, words in entries]
                parts.append(table([heading[:-1], "Description"], rows))
        if one.rest:
            parts.append("```text\n" + "\n".join(one.rest).strip("\n") + "\n```")
    sources = [path, "`millstream --help`"]
    return page("The command line", sources, [insert_tables(note.text.strip(), join_text(parts))])


def metrics_page(root):
    path = f"{PAGE_NOTES}/metrics.md"
    note = Note(root, path)
    text = (root / METRICS).read_text(encoding="utf-8")
    listed = re.search(r"const NAMES: \[\(&str, Kind, &str\); (\d+)\] = \[(.*?)\n\];", text, re.S)
    entries = re.findall(r'\("(\w+)", (\w+), "([^"]*)"\)', listed[2]) if listed else []
    if not listed or len(entries) != int(listed[1]):
        raise DocsError(f"{METRICS}: scripts/docs.py cannot parse the list of metrics")
    of_job = set(re.findall(r'one\("(\w+)"', text[text.index("fn of_job"):text.index("fn of_parts")]))
    of_parts = set(re.findall(r'one\("(\w+)"', text[text.index("fn of_parts"):]))
    rows = []
    for name, kind, meaning in entries:
        part = ["job_name", "part", "role"]
        if name in of_job:
            labels = ["job_name"]
        elif name in of_parts:
            labels = part
        elif name in LABELS_OF_PLUGINS:
            labels = part + LABELS_OF_PLUGINS[name]
        else:
            raise DocsError(f"{METRICS}: scripts/docs.py does not know the labels of {name}")
        shown = name + "_total" if kind == "Counter" else name
        rows.append([code(shown), kind.lower(), ", ".join(code(label) for label in labels), escaped(meaning)])
    return page("Metrics", [path, METRICS], [insert_tables(note.text.strip(), table(["Metric", "Type", "Labels", "Meaning"], rows))])


def interface_page(root):
    path = f"{PAGE_NOTES}/plugin-interface.md"
    note = Note(root, path)
    files = sorted((root / "wit").glob("*.wit"))
    worlds, shown = [], []
    for file in files:
        text = file.read_text(encoding="utf-8")
        for comment, name, body in re.findall(r"((?:^///[^\n]*\n)*)^world ([a-z-]+) \{(.*?)^\}", text, re.S | re.M):
            about = " ".join(line[3:].strip() for line in comment.splitlines())
            imports = ", ".join(code(word) for word in re.findall(r"^\s*import ([^;{]+?);", body, re.M))
            exports = ", ".join(code(word) for word in re.findall(r"^\s*export ([^;{]+?);", body, re.M))
            includes = ", ".join(code(word) for word in re.findall(r"^\s*include ([^;{]+?);", body, re.M))
            exports = ", ".join(part for part in (f"those of {includes}" if includes else "", exports) if part)
            worlds.append([f"[`{name}`](#{file.stem})", escaped(about), exports, imports])
        shown += [f"## {file.stem}", f"```wit\n{text}```"]
    tables = join_text(["## Worlds", table(["World", "What it is", "Exports", "Imports"], sorted(worlds)), *shown])
    return page("The plugin interface", [path, "`wit/`"], [insert_tables(note.text.strip(), tables)])


def pages(root, program):
    """All generated pages by path, and the errors of pages that cannot be generated."""
    schema = Schema(program)
    generated, errors = {}, []

    def add(path, make):
        try:
            generated[path] = make()
        except DocsError as error:
            errors.append(f"{path}: {error}")

    try:
        guarantees = read_guarantees(root, schema)
    except DocsError as error:
        return generated, [str(error)]
    kinds = sorted({page_of(kind) for role in ROLES for kind in schema.kinds[role]})
    for kind in kinds:
        add(f"docs/reference/connectors/{kind}.md", lambda kind=kind: kind_page(root, schema, guarantees, kind))
    add("docs/reference/connectors/index.md", lambda: connectors_index(root, schema, guarantees))
    try:
        check_operators(schema)
    except DocsError as error:
        errors.append(str(error))
    for operator in KEYS_OF_OPERATORS:
        add(f"docs/reference/stages/{operator}.md", lambda operator=operator: operator_page(root, schema, operator))
    add("docs/reference/stages/index.md", lambda: stages_index(root, schema))
    add("docs/reference/job-file.md", lambda: job_file_page(root, schema))
    add("docs/reference/cli.md", lambda: cli_page(root, program))
    add("docs/reference/metrics.md", lambda: metrics_page(root))
    add("docs/reference/plugin-interface.md", lambda: interface_page(root))
    return generated, errors


def find_unused(root, generated):
    """Reports notes that no page uses, and generated pages that are no longer generated."""
    for path in sorted((root / "docs").rglob("*.md")):
        name = path.relative_to(root).as_posix()
        if name not in generated and path.read_text(encoding="utf-8").startswith("<!-- Generated by scripts/docs.py"):
            yield f"{name}: no longer generated; remove it"
    names = {Path(name).stem for name in generated} | {"guarantees", "rates", "index"}
    for directory in (CONNECTOR_NOTES, OPERATOR_NOTES, PAGE_NOTES):
        for path in sorted((root / directory).glob("*.md")):
            if path.stem not in names:
                yield f"{directory}/{path.name}: no page uses this note; remove it"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="a built millstream")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="the project's directory")
    arguments = parser.parse_args()
    try:
        generated, errors = pages(arguments.root, str(Path(arguments.program).resolve()))
    except DocsError as error:
        generated, errors = {}, [str(error)]
    errors += find_unused(arguments.root, generated) if not errors else []
    for path, text in generated.items():
        target = arguments.root / path
        current = target.read_text(encoding="utf-8") if target.exists() else None
        if current == text:
            continue
        if arguments.check:
            errors.append(f"{path} is out of date; run scripts/docs.py PROGRAM")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            print(path)
    for line in errors:
        print(f"docs: {line}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
