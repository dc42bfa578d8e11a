// Imports of hostile archives and directories through the real holm-unpack, which needs root to confine
// itself.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "storage/import_template.h"
#include "storage/unpack_program.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/storage/tar_writer.h"

using namespace holm;
using namespace holm::storage;
using test::TarWriter;

namespace {

bool can_import() {
  const std::string self = sys::read_link("/proc/self/exe");
  // Where the build puts holm-unpack, seen from where it puts unit tests.
  ::setenv("HOLM_LIBEXEC_DIR", (self.substr(0, self.rfind('/')) + "/../../cli").c_str(), 0);
  bool found = false;
  ignore_errors([&] { found = !find_unpack_program().empty(); });  // told below
  if (::geteuid() == 0 && found) return true;
  std::puts("skipped: needs root and holm-unpack");
  return false;
}

// A place for one import, with a file beside it that no archive may touch.
struct Place {
  test::TemporaryDirectory directory;
  TemplateStore store{directory.path() + "/templates"};
  std::string root = store.directory() + "/x/root";
  std::string outside = directory.path() + "/outside";
  std::vector<std::string> notes;

  Place() { write_file_durably(outside, "untouched"); }

  std::string import(const std::string& archive, ImportOptions options = {}) {
    options.source = directory.path() + "/archive.tar";
    write_file_durably(options.source, archive);
    return import_from(options);
  }
  std::string import_from(const ImportOptions& options) {
    try {
      import_template(store, "x", options, [&](const std::string& line) { notes.push_back(line); });
      return "done";
    } catch (const Error& error) {
      CHECK(list_directory(store.directory()).empty());  // whatever fails leaves nothing
      return error.message();
    }
  }
  std::string first_note() const { return notes.empty() ? "" : notes[0]; }
  bool is_untouched() const {
    return read_file(outside) == "untouched" && list_directory(directory.path()).size() <= 4;
  }
};

TarWriter system_tar() { return TarWriter().directory("./").directory("./bin/").file("./bin/sh", "shell"); }

bool says(const std::string& message, const std::string& part) {
  CAPTURE(message);
  const bool found = message.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

struct stat status_of(const std::string& path) {
  const auto status = sys::stat_path(path);
  REQUIRE(status.has_value());
  return *status;
}

}  // namespace

TEST_CASE("an archive's owners, modes, times, links and attributes arrive") {
  if (!can_import()) return;
  Place place;
  auto tar = system_tar()
                 .add({.name = "bin/su", .content = "su", .uid = 0, .gid = 42, .mode = 04755})
                 .add({.name = "home/u/f", .content = "f", .uid = 1000, .gid = 65535, .mode = 0640})
                 .symbolic_link("etc/mtab", "/proc/self/mounts")
                 .hard_link("bin/ash", "./bin/sh")
                 .pax("SCHILY.xattr.user.note", "kept")
                 .pax("path", "usr/share/F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny")
                 .file("y", "y");
  CHECK(place.import(tar.finished()) == "done");
  CHECK(status_of(place.root + "/bin/su").st_mode == (S_IFREG | 04755));
  CHECK(status_of(place.root + "/bin/su").st_gid == 42);
  CHECK(status_of(place.root + "/home/u/f").st_uid == 1000);
  CHECK(status_of(place.root + "/home/u/f").st_mtime == 1'700'000'000);
  CHECK(status_of(place.root + "/home/u").st_mode == (S_IFDIR | 0755));  // had no entry of its own
  CHECK(status_of(place.root + "/bin").st_mtime == 1'700'000'000);
  CHECK(status_of(place.root + "/bin/ash").st_ino == status_of(place.root + "/bin/sh").st_ino);
  CHECK(sys::read_link(place.root + "/etc/mtab") == "/proc/self/mounts");
  CHECK(sys::exists(place.root + "/usr/share/F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny"));
  CHECK(place.store.find("x").kind == "import");
}

TEST_CASE("no name leaves the target") {
  if (!can_import()) return;
  Place place;
  CHECK(says(place.import(system_tar().file("../../outside", "x").finished()),
             "'../../outside' leaves the root"));
  CHECK(says(place.import(system_tar().file("bin/../../../outside", "x").finished()), "leaves the root"));
  CHECK(place.is_untouched());
  CHECK(place.import(system_tar().file(place.outside, "inside").finished()) ==
        "done");  // absolute: below the root
  CHECK(read_file(place.root + place.outside) == "inside");
  CHECK(place.is_untouched());
}

TEST_CASE("nothing is written through a link of the archive's own") {
  if (!can_import()) return;
  Place place;
  const std::string up = "../../../";
  CHECK(says(
      place.import(system_tar().symbolic_link("d", place.directory.path()).file("d/outside", "x").finished()),
      "an entry lies below 'd', which is a link"));
  CHECK(says(place.import(system_tar().symbolic_link("d", up).file("d/outside", "x").finished()),
             "which is a link"));
  CHECK(says(place.import(system_tar().symbolic_link("d", "..").file("d/e/f", "x").finished()),
             "which is a link"));
  CHECK(place.is_untouched());
  // A file, a directory, a link of the link's name replaces the link.
  auto tar = system_tar()
                 .symbolic_link("f", place.outside)
                 .file("f", "new")
                 .symbolic_link("g", place.directory.path());
  CHECK(place.import(tar.directory("g").finished()) == "done");
  CHECK(status_of(place.root + "/f").st_mode == (S_IFREG | 0644));
  CHECK(S_ISDIR(status_of(place.root + "/g").st_mode));
  CHECK(place.is_untouched());
}

TEST_CASE("hard links reach only what the archive has brought") {
  if (!can_import()) return;
  Place place;
  CHECK(says(place.import(system_tar().hard_link("h", place.outside).finished()),
             "which is not there before it"));
  CHECK(says(place.import(system_tar().hard_link("h", "../../outside").finished()), "leaves the root"));
  CHECK(says(place.import(system_tar().hard_link("h", "bin").finished()), "which is a directory"));
  CHECK(says(place.import(system_tar().symbolic_link("d", "../..").hard_link("h", "d/outside").finished()),
             "which is not there before it"));
  // One more name for a symbolic link is harmless: what comes below or over it does not go through it.
  CHECK(place.import(
            system_tar().symbolic_link("l", place.outside).hard_link("h", "l").file("h", "new").finished()) ==
        "done");
  CHECK(status_of(place.root + "/h").st_mode == (S_IFREG | 0644));
  CHECK(place.is_untouched());
}

TEST_CASE("device nodes, FIFOs and strange owners fail the import and are named") {
  if (!can_import()) return;
  Place place;
  CHECK(says(place.import(system_tar().add({.name = "dev/mem", .type = '3'}).finished()),
             "entry 'dev/mem' is a device node"));
  CHECK(says(place.import(system_tar().add({.name = "sda", .type = '4'}).finished()),
             "entry 'sda' is a device node"));
  CHECK(says(place.import(system_tar().add({.name = "etc/passwd", .type = '6'}).finished()),
             "entry 'etc/passwd' is a FIFO"));
  CHECK(says(place.import(system_tar().add({.name = "f", .uid = 65536}).finished()),
             "entry 'f' belongs to 65536:0"));
  CHECK(says(place.import(system_tar().add({.name = "f", .gid = 4294967295}).finished()),
             "entry 'f' belongs to 0:4294967295"));
  CHECK(says(place.import(system_tar().add({.name = "f", .uid = ~0ULL}).finished()),
             "entry 'f' belongs to -1:0"));
  CHECK(place.import(system_tar().add({.name = "run/initctl", .type = '6'}).finished()) == "done");
  CHECK(place.first_note() == "left out 1 FIFOs or sockets (the first: 'run/initctl')");
  CHECK_FALSE(sys::exists(place.root + "/run/initctl"));
}

TEST_CASE("attributes that could steer the host are left out and told") {
  if (!can_import()) return;
  Place place;
  auto tar = system_tar()
                 .pax("SCHILY.xattr.trusted.overlay.redirect", "/etc")
                 .pax("SCHILY.xattr.user.note", "kept")
                 .file("f", "x");
  TarWriter both = system_tar();
  both.pax("SCHILY.xattr.trusted.overlay.opaque", "y").directory("etc");
  CHECK(place.import(both.finished()) == "done");
  CHECK(::lgetxattr((place.root + "/etc").c_str(), "trusted.overlay.opaque", nullptr, 0) < 0);
  CHECK(place.first_note() ==
        "left out 1 extended attributes that are not taken from archives (the first: 'etc')");
}

TEST_CASE("an archive that is cut off anywhere leaves nothing") {
  if (!can_import()) return;
  Place place;
  const std::string whole = system_tar().file("etc/big", std::string(5000, 'b')).finished();
  const auto started = std::time(nullptr);
  for (const size_t size : {size_t{100}, size_t{512}, size_t{1024}, size_t{1536}, size_t{2048}, size_t{3000},
                            whole.size() - 1024}) {
    CAPTURE(size);
    const std::string message = place.import(whole.substr(0, size));
    CHECK((message.find("cut off") != std::string::npos ||
           message.find("not a tar archive") != std::string::npos));
  }
  CHECK(std::time(nullptr) - started <= 5);
  CHECK(place.import(whole.substr(0, whole.size() - 512)) == "done");
}

TEST_CASE("what is no archive, or no root file system, is told") {
  if (!can_import()) return;
  Place place;
  CHECK(says(place.import(""), "not a tar archive"));
  CHECK(says(place.import("hello, world\n"), "not a tar archive (plain, gzip, bzip2, xz or zstd)"));
  CHECK(says(place.import(std::string(100000, 'x')), "not a tar archive"));
  CHECK(says(place.import(std::string(10240, '\0')), "archive is empty"));
  CHECK(says(place.import(TarWriter().directory("rootfs").directory("rootfs/bin").finished()),
             "not a root file system"));
  CHECK(says(place.import_from({.source = place.directory.path() + "/none"}), "ENOENT"));
  const std::string fifo = place.directory.path() + "/fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(says(place.import_from({.source = fifo}), "neither a directory nor a regular file"));
}

TEST_CASE("sizes and numbers beyond the bounds end the import") {
  if (!can_import()) return;
  Place place;
  CHECK(says(place.import(system_tar().file("f", std::string(2000, 'x')).finished(), {.max_bytes = 1500}),
             "entry 'f' takes it over"));
  CHECK(says(place.import(system_tar().header_only({.name = "f"}, 1ULL << 50).finished()),
             "entry 'f' takes it over 64 GiB"));
  CHECK(says(place.import(system_tar().header_only({.name = "f"}, 1ULL << 63).finished()), "import"));
  CHECK(says(place.import(system_tar().finished(), {.max_entries = 2}), "it has more than 2 entries"));
  TarWriter many = system_tar();
  for (int i = 0; i < 150; ++i) many.pax(fmt::format("SCHILY.xattr.user.{}", i), std::string(900'000, 'x'));
  const std::string message = place.import(many.file("f", "x").finished());
  CHECK(message != "done");  // neither a crash nor more memory than it has
  CHECK(message.find("ended by") == std::string::npos);
}

TEST_CASE("a file is not replaced by what lies below it, nor a directory by a file") {
  if (!can_import()) return;
  Place place;
  CHECK(
      says(place.import(system_tar().file("bin", "x").finished()), "entry 'bin' would replace a directory"));
  CHECK(says(place.import(system_tar().file("f", "x").file("f/g", "x").finished()),
             "an entry lies below 'f', which is a link or a file"));
  CHECK(says(place.import(system_tar().add({.name = "./", .type = '2', .link = "/"}).finished()),
             "the root itself is not a directory"));
}

TEST_CASE("a directory is copied by the same rules") {
  if (!can_import()) return;
  Place place;
  const std::string source = place.directory.path() + "/source";
  sys::make_directories(source + "/usr/bin", 0755);
  write_file_durably(source + "/usr/bin/sh", "shell", 04755);
  REQUIRE(::link((source + "/usr/bin/sh").c_str(), (source + "/usr/bin/ash").c_str()) == 0);
  REQUIRE(::symlink(place.outside.c_str(), (source + "/link").c_str()) == 0);
  sys::make_directory(source + "/run", 0755);
  REQUIRE(::mkfifo((source + "/run/fifo").c_str(), 0600) == 0);
  CHECK(place.import_from({.source = source}) == "done");
  CHECK(sys::read_link(place.root + "/link") == place.outside);
  CHECK(status_of(place.root + "/usr/bin/sh").st_mode == (S_IFREG | 04755));
  CHECK(status_of(place.root + "/usr/bin/ash").st_nlink == 2);
  CHECK(place.first_note() == "left out 1 FIFOs or sockets (the first: 'run/fifo')");
  place.store.remove("x", {});
  REQUIRE(::mkfifo((source + "/usr/fifo").c_str(), 0600) == 0);
  CHECK(says(place.import_from({.source = source}), "entry 'usr/fifo' is a FIFO"));
  sys::remove_file(source + "/usr/fifo");
  REQUIRE(::chown((source + "/run").c_str(), 70000, 0) == 0);
  CHECK(says(place.import_from({.source = source}), "entry 'run' belongs to 70000:0"));
}

TEST_CASE("a directory that holds the template itself is copied without it") {
  if (!can_import()) return;
  Place place;
  sys::make_directory(place.directory.path() + "/bin", 0755);
  CHECK(place.import_from({.source = place.directory.path()}) == "done");
  CHECK(sys::exists(place.root + "/outside"));
  CHECK(place.first_note().starts_with("left out 1 directories: the template itself"));
}

TEST_CASE("an import that is killed in the middle is collected by the next command") {
  if (!can_import()) return;
  Place place;
  write_file_durably(place.directory.path() + "/archive.tar", system_tar().finished());
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("HOLM_FAULT", "stop:unpack entry", 1);  // the unpacker stands still with a half-made root
    ignore_errors([&] {
      import_template(place.store, "x", {.source = place.directory.path() + "/archive.tar"}, nullptr);
    });
    ::_exit(0);
  }
  for (int i = 0; i < 500 && list_directory(place.store.directory()).size() < 2; ++i) ::usleep(10'000);
  ::usleep(200'000);
  CHECK(place.store.collect_leftovers().removed.empty());  // it lives
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(place.store.list().empty());
  Leftovers leftovers;
  for (int i = 0; i < 100 && leftovers.removed.empty(); ++i) {
    leftovers = place.store.collect_leftovers();
    ::usleep(10'000);
  }
  CHECK(leftovers.removed.size() == 1);
  CHECK(list_directory(place.store.directory()).empty());
  CHECK(place.import(system_tar().finished()) == "done");
}
