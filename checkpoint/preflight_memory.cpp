#include "checkpoint/preflight_memory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <set>

#include "base/error.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxAnswer = 1 << 20;
constexpr size_t kMaxFindings = 500;
constexpr std::string_view kDone = "done\n";

// --- in the child

class Maps {
 public:
  Maps(const FileRules& rules, const Deadline& deadline) : rules_(rules), deadline_(deadline) {}
  // False where the time is over.
  bool add(const Task& task);
  Findings findings;

 private:
  void add_line(pid_t process, std::string_view line);

  const FileRules& rules_;
  const Deadline& deadline_;
  std::set<std::pair<std::string, uint64_t>> good_;  // files that were looked at
};

bool Maps::add(const Task& task) {
  const UniqueFd directory = open_process_directory(task.pid, "");
  const UniqueFd file(directory ? ::openat(directory.get(), "maps", O_RDONLY | O_CLOEXEC) : -1);
  if (!file) return true;
  std::array<char, 65536> buffer;
  std::string rest;
  for (;;) {
    const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
    if (size <= 0) return true;  // its end, or the process's
    rest.append(buffer.data(), static_cast<size_t>(size));
    size_t begin = 0;
    for (size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', begin)) {
      add_line(task.pid, std::string_view(rest).substr(begin, end - begin));
      begin = end + 1;
    }
    rest.erase(0, begin);
    if (deadline_.is_over() || findings.size() > kMaxFindings) return false;
  }
}

void Maps::add_line(pid_t process, std::string_view line) {
  const auto mapping = parse_mapping(line);
  if (!mapping) return;
  std::pair<std::string, uint64_t> key;
  std::optional<mode_t> mode;
  dev_t node = 0;
  if (mapping->is_file()) {
    key = {mapping->device, mapping->inode};
    if (good_.contains(key)) return;
    struct statx status = {};
    const std::string path = fmt::format("/proc/{}/map_files/{}", process, mapping->range);
    if (::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &status) == 0) {
      mode = status.stx_mode;
      node = ::makedev(status.stx_rdev_major, status.stx_rdev_minor);
    }
  }
  auto finding = judge_mapping(*mapping, rules_, mode, node);
  if (finding)
    findings.push_back({process, std::move(*finding)});
  else if (mapping->is_file())
    good_.insert(std::move(key));
}

[[noreturn]] void search(const Tree& tree, const FileRules& rules, const Deadline& deadline, int answers) {
  bool is_complete = true;
  ignore_errors([&] {  // the parent sees that it was not done
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Maps maps(rules, deadline);
    for (const Task& task : tree.tasks)
      if (task.memory_size != 0) is_complete = is_complete && maps.add(task);
    std::string text = encode_findings(maps.findings);
    if (is_complete) text += kDone;
    sys::write_all(answers, text, "the findings");
  });
  ::_exit(0);
}

}  // namespace

std::optional<Mapping> parse_mapping(std::string_view line) {
  Mapping mapping;
  std::array<std::string_view, 5> fields;  // range, rights, offset, device, inode
  for (std::string_view& field : fields) {
    const size_t end = line.find(' ');
    field = line.substr(0, end);
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  }
  const size_t colon = fields[3].find(':');
  const auto inode = parse_unsigned(fields[4]);
  if (colon == std::string_view::npos || !inode || fields[0].find('-') == std::string_view::npos)
    return std::nullopt;
  const std::string device(fields[3]);
  mapping.device = fmt::format("{}:{}", std::strtoul(device.c_str(), nullptr, 16),
                               std::strtoul(device.c_str() + colon + 1, nullptr, 16));
  mapping.range = fields[0];
  mapping.inode = *inode;
  mapping.name = trim(line);
  return mapping;
}

std::optional<Finding> judge_mapping(const Mapping& mapping, const FileRules& rules,
                                     std::optional<mode_t> mode, dev_t node) {
  const auto refuse = [](std::string object, std::string why, std::string cure) {
    return Finding{Severity::obstacle, std::move(object), std::move(why), std::move(cure)};
  };
  if (mapping.name == "[uprobes]")
    return refuse("uprobes (memory)", "a tracer on the host has put breakpoints into it",
                  "end the tracer and start the program anew");
  if (!mapping.is_file() || mapping.name.starts_with("socket:[")) return std::nullopt;
  const std::string name = fmt::format("file '{}' (memory)", shortened(mapping.name));
  if (mapping.name.starts_with("anon_inode:")) {
    auto finding = judge_anonymous(mapping.name);
    if (!finding) return refuse(name, "CRIU does not save memory of this kind", "end what uses it");
    finding->object += " (memory)";
    return finding;
  }
  if (mapping.name.starts_with("/[aio]")) return std::nullopt;
  constexpr unsigned kMemory = 1, kZero = 5;
  if (mode && S_ISCHR(*mode) && node != ::makedev(kMemory, kZero))
    return refuse(fmt::format("device {}:{} (memory)", major(node), minor(node)),
                  "CRIU does not save memory of a device", "end what uses it");
  const std::string shared = fmt::format("{}:{}", major(rules.shared_memory), minor(rules.shared_memory));
  if (mapping.device == shared || rules.mounts.types.contains(mapping.device)) return std::nullopt;
  if (mapping.name.starts_with("/secretmem"))
    return refuse("secret memory", "CRIU does not save it", "end what uses it");
  if (mapping.name.starts_with("/anon_hugepage") || mapping.name.starts_with("/memfd:") ||
      mapping.name.starts_with("/SYSV")) {
    if (rules.has_huge_pages) return std::nullopt;
    return refuse(name, "it has huge pages, of which this host has none, and CRIU does not know it again",
                  "let the host have some: vm.nr_hugepages");
  }
  if (rules.maps_show_layers) return std::nullopt;  // which file system it is on is not to be seen then
  return refuse(name, "it is on no mount of the container", "end what uses it");
}

std::string encode_findings(const Findings& findings) {
  std::string text;
  for (const auto& [process, finding] : findings)
    text += fmt::format("{}\n{}\n{}\n{}\n{}\n", process,
                        finding.severity == Severity::obstacle ? "obstacle" : "warning", finding.object,
                        finding.why, finding.cure);
  return text;
}

Findings decode_findings(std::string_view text) {
  constexpr size_t kLines = 5;
  const std::vector<std::string> lines = split(text, '\n');
  Findings findings;
  for (size_t i = 0; i + kLines <= lines.size(); i += kLines) {
    const auto process = parse_unsigned(lines[i]);
    if (!process) break;
    findings.push_back({static_cast<pid_t>(*process),
                        {lines[i + 1] == "obstacle" ? Severity::obstacle : Severity::warning, lines[i + 2],
                         lines[i + 3], lines[i + 4]}});
  }
  return findings;
}

MemorySearch::MemorySearch(const Tree& tree, const FileRules& rules, const Deadline& deadline) {
  auto [read_end, write_end] = sys::pipe();
  const pid_t child = ::fork();
  if (child < 0) throw Error::system("start a process that looks at memory maps");
  if (child == 0) search(tree, rules, deadline, write_end.get());
  process_ = sys::pidfd_open(child);
  answers_ = std::move(read_end);
}

MemorySearch::~MemorySearch() { kill_and_reap(process_.get()); }

Findings MemorySearch::take(const Deadline& deadline, bool& is_complete) {
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    const auto left = std::max<int64_t>(deadline.left().count(), 0);
    pollfd readable = {answers_.get(), POLLIN, 0};
    const int ready = ::poll(&readable, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) break;
    const ssize_t size = ::read(answers_.get(), buffer.data(), buffer.size());
    if (size <= 0 || text.size() > kMaxAnswer) break;
    text.append(buffer.data(), static_cast<size_t>(size));
  }
  if (text.ends_with(kDone))
    text.erase(text.size() - kDone.size());
  else
    is_complete = false;
  return decode_findings(text);
}

}  // namespace holm::checkpoint
