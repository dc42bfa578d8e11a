#!/usr/bin/env python3
"""Reads the #includes of the tree and names each that goes against the one-way order of the folders.

cli -> checkpoint -> runtime -> {isolation, netsetup, quotas, storage} -> base; the four in braces never include each
other, and no header of Holm shows its readers a wrapped library's header.

usage: includes.py TREE
"""

import pathlib
import re
import sys

SLICES = ["isolation", "netsetup", "quotas", "storage"]
BELOW = {"base": set()}
for name in SLICES:
    BELOW[name] = {"base"}
BELOW["runtime"] = {"base", *SLICES}
BELOW["checkpoint"] = BELOW["runtime"] | {"runtime"}
BELOW["cli"] = BELOW["checkpoint"] | {"checkpoint"}

# Wrapped once, in one source file each; and what makes every reader of a header compile slowly.
NOT_IN_HEADERS = re.compile(
    r"^(netlink/|libnl|nftables/|libnftables|seccomp\.h|sys/capability\.h|archive(_entry)?\.h|sqlite3\.h|criu/|systemd/|zstd\.h"
    r"|ncurses\.h|nlohmann/json\.hpp|toml\+\+|CLI/|fmt/format\.h|regex$|iostream$)"
)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def sources(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in (".h", ".cpp") and path.is_file())


def includes(path):
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start(2)) + 1, match[1] == '"', match[2]


def target_folder(tree, path, included):
    """The folder that an include in quotes leads to, or None where it leads nowhere."""
    for base in (path.parent, tree):
        target = (base / included).resolve()
        if target.is_file() and target.is_relative_to(tree):
            return target.relative_to(tree).parts[0]
    return None


def violations(tree):
    tree = tree.resolve()
    for folder, below in BELOW.items():
        for path in sources(tree / folder):
            for line, quoted, included in includes(path):
                place = f"{path.relative_to(tree)}:{line}"
                target = target_folder(tree, path, included) if quoted else None
                if path.suffix == ".h" and NOT_IN_HEADERS.match(included):
                    yield f"{place}: '{included}' in a header: include it in a .cpp, and wrap it there"
                elif target and target != folder and target not in below:
                    allowed = ", ".join(sorted(below)) or "no other folder"
                    yield f"{place}: {folder} includes '{included}' of {target}; it may include: {allowed}"
                elif not quoted and included.split("/")[0] in BELOW and (tree / included).is_file():
                    yield f"{place}: '{included}' is Holm's own: put it in quotes, so that this test sees it"
    for folder, below in BELOW.items():
        for path in sources(tree / "tests" / "unit" / folder):
            for line, quoted, included in includes(path):
                target = target_folder(tree, path, included) if quoted else None
                if target in BELOW and target != folder and target not in below:
                    yield f"{path.relative_to(tree)}:{line}: a unit test of {folder} needs '{included}' of {target}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tree = pathlib.Path(sys.argv[1])
    if not (tree / "base").is_dir():
        sys.exit(f"includes.py: '{tree}' is not Holm's source tree: it has no folder 'base'")
    found = list(violations(tree))
    for violation in found:
        print(violation)
    print(f"{len(found)} includes against the order of the folders")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
