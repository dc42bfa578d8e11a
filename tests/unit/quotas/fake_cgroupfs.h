// A tree of plain files that behaves like cgroupfs as far as the drivers can tell: mkdir(2) below it fills
// the new group with the kernel's files, rmdir(2) takes a group with its files away but refuses one that
// holds processes or nested groups. This test program has a mkdir(2), rmdir(2) and unlinkat(2) of its own for
// that (fake_cgroupfs.cpp).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "quotas/cgroup.h"
#include "tests/support/temporary_directory.h"

namespace holm::test {

class FakeCgroupfs {
 public:
  explicit FakeCgroupfs(quotas::CgroupLayout::Kind kind);
  ~FakeCgroupfs();
  FakeCgroupfs(const FakeCgroupfs&) = delete;
  FakeCgroupfs& operator=(const FakeCgroupfs&) = delete;

  const quotas::CgroupLayout& layout() const { return layout_; }
  // Takes a controller's files away from groups that are made from now on, or all files of a name.
  void without_file(const std::string& name) { left_out_.push_back(name); }
  void without_controller(const std::string& name);
  // A file of `name` in groups made from now on ignores what is written to it.
  void ignore_writes_to(const std::string& name) { ignoring_.push_back(name); }

  // "cpu/holm/7/cpu.shares": the file in the hierarchy "cpu"; the v2 one is called "unified".
  std::string path(const std::string& name) const { return root_.path() + "/" + name; }
  std::string read(const std::string& name) const { return read_file(path(name)); }
  void write(const std::string& name, const std::string& content) const;

  // Called for each new group; public for the mkdir(2) of this program.
  void fill(const std::string& directory) const;
  const std::string& root() const { return root_.path(); }

 private:
  void add_v1(const std::string& name, const std::vector<std::string>& controllers);
  void add_v2(const std::vector<std::string>& controllers);

  TemporaryDirectory root_;
  quotas::CgroupLayout layout_;
  std::vector<std::string> left_out_;
  std::vector<std::string> ignoring_;
};

}  // namespace holm::test
