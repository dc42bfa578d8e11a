// A directory for one test, gone afterwards.
#pragma once

#include <stdlib.h>

#include <string>

#include "base/error.h"
#include "base/sys.h"

namespace holm::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char path[] = "/tmp/holm-test-XXXXXX";
    path_ = ::mkdtemp(path);
  }
  ~TemporaryDirectory() {
    ignore_errors([&] { sys::remove_tree(path_); });  // a test's own leftovers only
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace holm::test
