// Templates of Debian with packages: each is built once a host, which needs the network, and then unpacked
// from an archive of it, which takes an emulated host a millisecond a file.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/sys.h"
#include "tests/support/holm_runner.h"
#include "tests/support/temporary_directory.h"

namespace holm::test {

struct DebianTemplate {
  std::string name;
  std::string packages;
  // Below the cache; those that stand in it itself go into lab hosts. Its number changes when what is in it
  // must change, so that nobody tests with an older one.
  std::string archive;
};

inline const DebianTemplate kServices = {
    "services", "python3,openssh-server,libpam-systemd,cron,redis-server", "debian-services-v1.tar"};
inline const DebianTemplate kPrograms = {
    "programs", "python3,nginx,postgresql-15,openjdk-17-jre-headless,ecj,nodejs,vim-tiny",
    "this-host/debian-programs-v1.tar"};

inline std::string archive_of(const DebianTemplate& wanted) {
  const char* cache = std::getenv("HOLM_TEST_CACHE");
  return std::string(cache ? cache : "/var/cache/holm-test") + "/" + wanted.archive;
}

inline bool have_debian(const DebianTemplate& wanted) {
  return sys::exists(archive_of(wanted)) || run_host({"sh", "-c", "command -v mmdebstrap"}).status == 0;
}

// Without what only people read, and the compiler that PostgreSQL uses for long queries.
inline void pack_debian(const std::string& root, const std::string& archive) {
  const std::string directory = archive.substr(0, archive.rfind('/'));
  sys::make_directories(directory, 0755);
  const Result packed = run_host(
      {"tar", "--numeric-owner", "--xattrs", "--exclude=./usr/share/doc/*", "--exclude=./usr/share/man/*",
       "--exclude=./usr/share/locale/*", "--exclude=./usr/share/i18n/*", "--exclude=./usr/share/zoneinfo/*",
       "--exclude=./usr/share/perl/*", "--exclude=./usr/lib/*/libLLVM*", "--exclude=./var/lib/apt/lists/*",
       "--exclude=./var/cache/apt/*", "-C", root, "-cf", archive + ".new", "."});
  CHECK_MESSAGE(packed.status == 0, packed.errors);
  for (const std::string& older : list_directory(directory))
    if (older.starts_with("debian-") && older.ends_with(".tar")) sys::remove_file(directory + "/" + older);
  sys::rename(archive + ".new", archive);
}

// The directory of the template, which stands until the program ends.
inline std::string unpack_debian(const DebianTemplate& wanted) {
  static std::map<std::string, std::unique_ptr<TemporaryDirectory>> unpacked;
  auto& directory = unpacked[wanted.name];
  const bool is_new = !directory;
  if (is_new) directory = std::make_unique<TemporaryDirectory>();
  const std::string state = directory->path() + "/state", made = state + "/templates/" + wanted.name;
  if (!is_new) return made;
  const std::string archive = archive_of(wanted);
  const auto make = [&](std::vector<std::string> command) {
    command.insert(command.begin(), holm_program());
    const Result result = run_host(command, {{"HOLM_STATE_DIR", state},
                                             {"HOLM_RUN_DIR", directory->path() + "/run"},
                                             {"HOLM_HOST_CONFIG", directory->path() + "/holm.toml"}});
    REQUIRE_MESSAGE(result.status == 0, result.errors);
  };
  if (sys::exists(archive)) {
    make({"template", "import", wanted.name, archive});
  } else {
    MESSAGE("building the template '", wanted.name, "', once: takes about two minutes");
    make({"template", "build", "debian", "--name", wanted.name, "--include", wanted.packages});
    pack_debian(made + "/root", archive);
  }
  return made;
}

// The installation's template links to the files of the one that was unpacked for all.
inline void add_debian(const Installation& installation, const DebianTemplate& wanted) {
  const std::string target = installation.state_directory() + "/templates/" + wanted.name;
  const Result linked = run_host({"cp", "-al", unpack_debian(wanted), target});
  REQUIRE_MESSAGE(linked.status == 0, linked.errors);
}

}  // namespace holm::test
