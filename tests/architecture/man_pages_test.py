#!/usr/bin/env python3
"""Compares the man pages with what the program itself says: every verb, option and config key has its place in a page,
and no page knows one that the program does not.

usage: man_pages_test.py TREE        with HOLM_PROGRAM=.../holm
"""

import os
import pathlib
import re
import subprocess
import sys

# The page of each family of verbs.
PAGES = {
    "holm-checkpoint.1": "save restore clone checkpoint",
    "holm-start.1": "create start run stop kill reboot pause resume destroy rename wait",
    "holm-list.1": "list inspect ps log",
    "holm-set.1": "set mem-set mem-max vcpu-set vcpu-pin vcpu-list sched-credit",
    "holm-counters.1": "counters",
    "holm-metrics.1": "metrics",
    "holm-exec.1": "exec shell console",
    "holm-template.1": "template",
    "holm-config.1": "config",
    "holm-check.1": "info check gc version",
    "holm-usage.1": "account usage",
}
HELP_OPTIONS = {"-h", "--help"}


def ask(*words):
    result = subprocess.run([os.environ["HOLM_PROGRAM"], *words], capture_output=True, text=True, check=True)
    return result.stdout


def verbs_of(help_text):
    """The words of the block "Subcommands:"; the first name of each, its aliases left out."""
    block = re.search(r"^Subcommands:\n((?:  .*\n)*)", help_text, re.MULTILINE)
    return re.findall(r"^  ([a-z-]+)", block[1], re.MULTILINE) if block else []


def options_of(help_text):
    """What stands in front of an option's meaning: "-t,--timeout TEXT", "-s,--signal TEXT=KILL"."""
    block = re.search(r"^Options:\n((?:  .*\n)*)", help_text, re.MULTILINE)
    options = set()
    for words in re.findall(r"^  (-\S+)", block[1] if block else "", re.MULTILINE):
        options.update(words.split(","))
    return options - HELP_OPTIONS


def sections_of(page):
    """mdoc's .Ss of a page's section VERBS: title -> text."""
    verbs = re.search(r"^\.Sh VERBS\n(.*?)(?=^\.Sh|\Z)", page, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^\.Ss (.*)\n", verbs[1] if verbs else "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def options_in(text):
    """The options that have an entry (.It) in a piece of mdoc: "Fl t Ar time , Fl -timeout Ar time"."""
    items = "\n".join(re.findall(r"^\.It (Fl .*)$", text, re.MULTILINE))
    return {"-" + name for name in re.findall(r"\bFl (\S+)", items)} - HELP_OPTIONS


def compare(place, program, page):
    for name in sorted(program - page):
        yield f"{place}: '{name}' of the program is missing"
    for name in sorted(page - program):
        yield f"{place}: '{name}' is not known to the program"


def check_verbs(pages):
    main = ask("--help")
    overview = set(re.findall(r"^\.It Cm (\S+)$", pages["holm.1"], re.MULTILINE))
    yield from compare("holm.1, DESCRIPTION", set(verbs_of(main)), overview)
    yield from compare("holm.1, OPTIONS", options_of(main), options_in(pages["holm.1"]))
    described = {verb: page for page, verbs in PAGES.items() for verb in verbs.split()}
    yield from compare("the pages", set(verbs_of(main)), set(described))
    for page in PAGES:
        sections = sections_of(pages[page])
        expected = {}
        for verb in (verb for verb in described if described[verb] == page):
            help_text = ask(verb, "--help")
            groups = verbs_of(help_text)
            expected.update({f"{verb} {part}": ask(verb, part, "--help") for part in groups} or {verb: help_text})
        yield from compare(f"{page}, VERBS", set(expected), set(sections))
        for title in set(expected) & set(sections):
            yield from compare(f"{page}, {title}", options_of(expected[title]), options_in(sections[title]))


def keys_of_program():
    """The keys of `holm config show --defaults`, and those of them that are not available yet."""
    keys, later, section, comment = set(), set(), "", ""
    for line in ask("config", "show", "--defaults").splitlines():
        if header := re.fullmatch(r"#?\[+([a-z]+)\]+", line):
            section = header[1] + "."
        elif key := re.match(r"#?([a-z_0-9]+) = ", line):
            (later if "not available in this version)" in comment else keys).add(section + key[1])
        comment = line if not line.startswith("#   ") else comment
    return keys, later


def check_keys(page):
    available, later = page.split(".Sh NOT AVAILABLE IN THIS VERSION")
    described, section = set(), ""
    for line in available.splitlines():
        if header := re.fullmatch(r"\.Ss \[+([a-z]+)\]+", line):
            section = header[1] + "."
        elif key := re.match(r"\.It Ic ([a-z_0-9]+)", line):
            described.add(section + key[1])
    keys, keys_later = keys_of_program()
    yield from compare("holm-container.5", keys, described)
    refused = set(re.findall(r"^\.It Ic (\S+)", later, re.MULTILINE))
    yield from compare("holm-container.5, NOT AVAILABLE", keys_later, refused)


def main():
    folder = pathlib.Path(sys.argv[1]) / "docs" / "man"
    pages = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    problems = [*check_verbs(pages), *check_keys(pages["holm-container.5"])]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


sys.exit(main())
