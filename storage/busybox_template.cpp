#include "storage/busybox_template.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "storage/file_copy.h"

namespace holm::storage {
namespace {

struct Directory {
  const char* path;
  mode_t mode;
};

constexpr Directory kDirectories[] = {
    {"bin", 0755},        {"sbin", 0755},      {"usr", 0755},           {"usr/bin", 0755},
    {"usr/sbin", 0755},   {"usr/local", 0755}, {"usr/local/bin", 0755}, {"etc", 0755},
    {"etc/init.d", 0755}, {"dev", 0755},       {"proc", 0555},          {"sys", 0555},
    {"tmp", 01777},       {"run", 0755},       {"root", 0700},          {"home", 0755},
    {"mnt", 0755},        {"opt", 0755},       {"srv", 0755},           {"var", 0755},
    {"var/log", 0755},    {"var/lib", 0755},   {"var/tmp", 01777},      {"var/www", 0755},
};

struct File {
  const char* path;
  mode_t mode;
  gid_t group;
  const char* content;
};

constexpr gid_t kShadowGroup = 42;

constexpr File kFiles[] = {
    {"etc/passwd", 0644, 0,
     "root:x:0:0:root:/root:/bin/sh\n"
     "daemon:x:1:1:daemon:/:/usr/sbin/nologin\n"
     "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
     "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"},
    {"etc/group", 0644, 0,
     "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nshadow:x:42:\nusers:x:100:\nnogroup:x:65534:\n"},
    // No account has a password: nobody gets in by one.
    {"etc/shadow", 0640, kShadowGroup,
     "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\n"
     "www-data:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n"},
    {"etc/nsswitch.conf", 0644, 0, "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"},
    {"etc/profile", 0644, 0,
     "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n"},
    // Without a terminal's name the shell stays on init's own console, which '-' makes its controlling
    // terminal. The console belongs to the host's root, so there is no password to ask for.
    {"etc/inittab", 0644, 0,
     "::sysinit:/etc/init.d/rcS\n::respawn:-/bin/sh\n::ctrlaltdel:/sbin/reboot\n::shutdown:/etc/init.d/"
     "rcK\n"},
    {"etc/init.d/rcS", 0755, 0,
     "#!/bin/sh\n# Starts the services: every executable /etc/init.d/S*, in order.\n"
     "for service in /etc/init.d/S*; do\n  [ -x \"$service\" ] && \"$service\" start\ndone\nexit 0\n"},
    {"etc/init.d/rcK", 0755, 0,
     "#!/bin/sh\n# Stops the services that rcS started, last one first.\n"
     "for service in $(ls -r /etc/init.d/S* 2>/dev/null); do\n  [ -x \"$service\" ] && \"$service\" "
     "stop\ndone\nexit 0\n"},
    {"var/www/index.html", 0644, 0,
     "<!DOCTYPE html>\n<html><head><title>Holm</title></head>\n<body><p>It works: a container serves this "
     "page.</p></body></html>\n"},
};

UniqueFd open_static_busybox(const std::string& program, std::string& path) {
  const std::vector<std::string> candidates =
      program.empty() ? std::vector<std::string>{"/bin/busybox", "/usr/bin/busybox"}
                      : std::vector<std::string>{program};
  const std::string cure = "apt-get install busybox-static";
  for (const std::string& candidate : candidates) {
    auto fd = sys::open_if_exists(candidate, O_RDONLY | O_NONBLOCK);
    if (!fd) continue;
    path = candidate;
    if (!S_ISREG(sys::stat_fd(fd->get(), candidate).st_mode))
      throw Error(fmt::format("'{}' is not a regular file", candidate));
    char first[16384];
    const ssize_t size = ::pread(fd->get(), first, sizeof first, 0);
    if (size < 0) throw Error::system(fmt::format("read '{}'", candidate));
    if (!is_static_program(std::string_view(first, static_cast<size_t>(size))))
      throw Error(fmt::format("'{}' is not statically linked: it would not run without the host's libraries",
                              candidate))
          .hint(cure);
    return std::move(*fd);
  }
  throw Error(fmt::format("there is no busybox on this host: looked for {}", join(candidates, ", ")))
      .hint(cure);
}

void copy_program(int from, const std::string& to) {
  const UniqueFd fd = sys::open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0755);
  copy_content(from, fd.get(), to, [](uint64_t) {});
  sys::chmod_fd(fd.get(), 0755, to);
}

// Below `root` is nobody but us: plain paths are safe there.
void make_directories(const std::string& root) {
  for (const Directory& directory : kDirectories) {
    const std::string path = root + "/" + directory.path;
    sys::make_directory(path, directory.mode);
    sys::chmod_fd(sys::open(path, O_RDONLY | O_DIRECTORY).get(), directory.mode, path);  // whatever the umask
  }
  if (::symlink("../run", (root + "/var/run").c_str()) != 0) throw Error::system("make link 'var/run'");
}

void write_files(const std::string& root) {
  for (const File& file : kFiles) {
    const std::string path = root + "/" + file.path;
    const UniqueFd fd = sys::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    sys::write_all(fd.get(), file.content, path);
    if (file.group != 0) sys::chown_fd(fd.get(), 0, file.group, path);
    sys::chmod_fd(fd.get(), file.mode, path);
  }
}

void link_applets(const std::string& root, std::string_view list_full) {
  const auto links = plan_applet_links(list_full);
  if (links.empty()) throw Error("this busybox has no applets");
  for (const auto& [path, target] : links) {
    if (::symlink(target.c_str(), (root + "/" + path).c_str()) != 0)
      throw Error::system(fmt::format("make link '{}'", path));
  }
}

// "BusyBox v1.35.0 (Debian ...) multi-call binary." -> "BusyBox v1.35.0".
std::string version_of(const std::string& path) {
  const auto words = split_words(run_program(std::vector<std::string>{path}).output.substr(0, 200));
  return words.size() < 2 ? path : fmt::format("{} {} ({})", words[0], words[1], path);
}

template <class Header, class ProgramHeader>
bool has_interpreter(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof header) return true;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (size_t i = 0; i < header.e_phnum; ++i) {
    const size_t at = header.e_phoff + i * sizeof(ProgramHeader);
    if (at > bytes.size() || bytes.size() - at < sizeof(ProgramHeader))
      return true;  // cannot tell: not known to be static
    ProgramHeader segment;
    std::memcpy(&segment, bytes.data() + at, sizeof segment);
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
}

}  // namespace

bool is_static_program(std::string_view bytes) {
  if (bytes.size() < EI_NIDENT || !bytes.starts_with(ELFMAG)) return false;
  if (bytes[EI_CLASS] == ELFCLASS64) return !has_interpreter<Elf64_Ehdr, Elf64_Phdr>(bytes);
  return bytes[EI_CLASS] == ELFCLASS32 && !has_interpreter<Elf32_Ehdr, Elf32_Phdr>(bytes);
}

std::vector<std::pair<std::string, std::string>> plan_applet_links(std::string_view list_full) {
  std::vector<std::pair<std::string, std::string>> links;
  for (const std::string& path : split_words(list_full)) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos || !is_plain_name(std::string_view(path).substr(slash + 1))) continue;
    const std::string directory = path.substr(0, slash);
    if (path == "bin/busybox") continue;
    if (directory == "bin") links.emplace_back(path, "busybox");
    if (directory == "sbin") links.emplace_back(path, "../bin/busybox");
    if (directory == "usr/bin" || directory == "usr/sbin") links.emplace_back(path, "../../bin/busybox");
  }
  std::sort(links.begin(), links.end());
  links.erase(std::unique(links.begin(), links.end()), links.end());
  return links;
}

TemplateInfo build_busybox(TemplateStore& store, const std::string& name, const std::string& program) {
  return store.create(name, [&](const std::string& root) {
    std::string path;
    const UniqueFd busybox = step("find busybox", [&] { return open_static_busybox(program, path); });
    step("make directories", [&] { make_directories(root); });
    step("copy busybox", [&] { copy_program(busybox.get(), root + "/bin/busybox"); });
    step("link applets", [&] { link_applets(root, run_program_or_throw({path, "--list-full"})); });
    step("write files", [&] { write_files(root); });
    TemplateInfo info;
    info.kind = "busybox";
    info.source = version_of(path);
    return info;
  });
}

}  // namespace holm::storage
