#!/usr/bin/env python3
"""Tests of includes.py against small trees that are made here."""

import pathlib
import tempfile
import unittest

import includes


class Includes(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.tree = pathlib.Path(self.directory.name)
        self.addCleanup(self.directory.cleanup)
        self.write("base/error.h", "#pragma once\n")

    def write(self, path, text):
        file = self.tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def violations(self):
        return list(includes.violations(self.tree))

    def test_an_include_of_a_lower_folder_and_of_the_own_folder_is_fine(self):
        self.write("runtime/spec.h", '#include "quotas/limits.h"\n#include "base/error.h"\n')
        self.write("quotas/limits.h", '#include "base/error.h"\n')
        self.write("quotas/limits.cpp", '#include "limits.h"\n#include "quotas/limits.h"\n#include <vector>\n')
        self.assertEqual(self.violations(), [])

    def test_an_include_of_a_higher_folder_is_named_with_its_line_and_what_is_allowed(self):
        self.write("runtime/spec.h", "")
        self.write("quotas/limits.cpp", '// first\n\n  #  include "runtime/spec.h"\n')
        self.assertEqual(
            self.violations(),
            ["quotas/limits.cpp:3: quotas includes 'runtime/spec.h' of runtime; it may include: base"],
        )

    def test_the_four_slices_never_include_each_other(self):
        self.write("storage/overlay.h", "")
        self.write("isolation/mount.h", '#include "storage/overlay.h"\n')
        self.assertEqual(len(self.violations()), 1)

    def test_base_includes_no_other_folder_not_even_by_a_relative_path(self):
        self.write("cli/table.h", "")
        self.write("base/text.cpp", '#include "../cli/table.h"\n')
        self.assertIn("it may include: no other folder", self.violations()[0])

    def test_an_own_header_in_angle_brackets_is_found_too(self):
        self.write("cli/table.h", "")
        self.write("base/text.cpp", "#include <cli/table.h>\n")
        self.assertIn("put it in quotes", self.violations()[0])

    def test_a_wrapped_library_shows_in_a_source_but_not_in_a_header(self):
        self.write("netsetup/link.cpp", "#include <netlink/route/link.h>\n")
        self.write("netsetup/link.h", "#include <netlink/route/link.h>\n")
        self.assertEqual(
            self.violations(),
            ["netsetup/link.h:1: 'netlink/route/link.h' in a header: include it in a .cpp, and wrap it there"],
        )

    def test_a_unit_test_stays_with_its_folder_and_what_is_below(self):
        self.write("runtime/spec.h", "")
        self.write("tests/support/temporary_directory.h", "")
        self.write("tests/unit/base/text_test.cpp", '#include "tests/support/temporary_directory.h"\n')
        self.assertEqual(self.violations(), [])
        self.write("tests/unit/base/file_test.cpp", '#include "runtime/spec.h"\n')
        self.assertEqual(self.violations(), ["tests/unit/base/file_test.cpp:1: a unit test of base needs 'runtime/spec.h' of runtime"])


if __name__ == "__main__":
    unittest.main()
