// A disk of a test's own: an ext4 in a file, behind a loop device.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "base/file.h"
#include "base/sys.h"
#include "tests/support/holm_runner.h"

namespace holm::test {

// Mounted at `target`, which it makes, until the end of the scope. The loop device goes with the mount: the
// kernel detaches it then, also when the test fails or dies.
class LoopDisk {
 public:
  LoopDisk(const std::string& image, const std::string& target, const std::string& size)
      : image_(make_image(image, size)), mount_({"-o", "loop", image}, target), target_(target) {}
  ~LoopDisk() {
    run_host({"umount", "-R", "-l", target_});
    CHECK(eventually([&] { return device_of(image_).empty(); }));
  }
  LoopDisk(const LoopDisk&) = delete;
  LoopDisk& operator=(const LoopDisk&) = delete;

  // "loop3"
  std::string name() const { return device_of(image_); }
  // "7:3"
  std::string number() const {
    std::string text = read_file("/sys/block/" + name() + "/dev");
    text.pop_back();
    return text;
  }

 private:
  static const std::string& make_image(const std::string& image, const std::string& size) {
    run_host({"truncate", "-s", size, image});
    const Result made =
        run_host({"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image});
    CHECK_MESSAGE(made.status == 0, made.errors);
    return image;
  }
  static std::string device_of(const std::string& image) {
    for (const std::string& name : list_directory("/sys/block")) {
      const auto file = read_file_if_exists("/sys/block/" + name + "/loop/backing_file");
      if (file && file->starts_with(image)) return name;
    }
    return "";
  }

  std::string image_;
  HostMount mount_;
  std::string target_;
};

}  // namespace holm::test
