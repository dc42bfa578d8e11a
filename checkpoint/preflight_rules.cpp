// Which open files CRIU takes, as tables and decisions: its files.c, `dump_one_file`.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "checkpoint/message_queues.h"
#include "checkpoint/preflight_files.h"

namespace holm::checkpoint {
namespace {

struct Kind {
  std::string_view name;
  const char* why;  // nullptr: CRIU takes it
  const char* cure;
};

constexpr const char* kEndIt = "end what uses it";

// By their names behind "anon_inode:". What is not here CRIU does not know. bpf maps are known to a CRIU that
// was built with libbpf; Debian's is not.
constexpr std::array<Kind, 16> kAnonymous = {{
    {"[eventfd]", nullptr, nullptr},
    {"[eventpoll]", nullptr, nullptr},
    {"inotify", nullptr, nullptr},
    {"[fanotify]", nullptr, nullptr},
    {"[signalfd]", nullptr, nullptr},
    {"[timerfd]", nullptr, nullptr},
    {"[pidfd]", nullptr, nullptr},
    {"[io_uring]", "CRIU does not save io_uring", "set security.io_uring = false: programs then do without"},
    {"bpf-prog", "CRIU does not save bpf programs", kEndIt},
    {"bpf-map", "CRIU does not save bpf maps", kEndIt},
    {"bpf_link", "CRIU does not save bpf links", kEndIt},
    {"[perf_event]", "CRIU does not save performance counters", kEndIt},
    {"[userfaultfd]", "CRIU does not save userfaultfd", kEndIt},
    {"[landlock-ruleset]", "CRIU does not save Landlock rule sets", "close it when the rules are in force"},
    {"[fscontext]", "CRIU does not save a mount that is being made", "try again in a moment"},
    {"seccomp notify", "CRIU does not save who answers for another's system calls", kEndIt},
}};

// By what the kernel calls them in the attribute system.sockprotoname.
constexpr std::array<Kind, 24> kProtocols = {{
    {"UNIX", nullptr, nullptr},
    {"UNIX-STREAM", nullptr, nullptr},
    {"TCP", nullptr, nullptr},
    {"TCPv6", nullptr, nullptr},
    {"UDP", nullptr, nullptr},
    {"UDPv6", nullptr, nullptr},
    {"UDP-Lite", nullptr, nullptr},
    {"UDPLITEv6", nullptr, nullptr},
    {"RAW", nullptr, nullptr},
    {"RAWv6", nullptr, nullptr},
    {"PING", nullptr, nullptr},
    {"PINGv6", nullptr, nullptr},
    {"PACKET", nullptr, nullptr},
    {"NETLINK", nullptr, nullptr},
    {"MPTCP", "CRIU does not save MPTCP",
     "use TCP: for programs in Go, GODEBUG=multipathtcp=0 in the environment"},
    {"MPTCPv6", "CRIU does not save MPTCP",
     "use TCP: for programs in Go, GODEBUG=multipathtcp=0 in the environment"},
    {"SCTP", "CRIU does not save SCTP", kEndIt},
    {"SCTPv6", "CRIU does not save SCTP", kEndIt},
    {"AF_VSOCK", "CRIU does not save vsock, whose other end is the host", kEndIt},
    {"ALG", "CRIU does not save the kernel's cryptography sockets",
     "let the program use its own: AF_ALG off"},
    {"XDP", "CRIU does not save AF_XDP", kEndIt},
    {"CAN_RAW", "CRIU does not save CAN", kEndIt},
    {"KEY", "CRIU does not save PF_KEY", kEndIt},
    {"SMC", "CRIU does not save SMC", "use TCP"},
}};

template <size_t N>
std::optional<Finding> look_up(const std::array<Kind, N>& kinds, std::string_view name) {
  const auto kind = std::ranges::find(kinds, name, &Kind::name);
  if (kind == kinds.end())
    return Finding{Severity::obstacle, shortened(name), "CRIU does not know this kind of file", kEndIt};
  if (!kind->why) return std::nullopt;
  return Finding{Severity::obstacle, std::string(name), kind->why, kind->cure};
}

std::string_view without(std::string_view name, std::string_view begin, std::string_view end) {
  if (name.starts_with(begin)) name.remove_prefix(begin.size());
  if (name.ends_with(end)) name.remove_suffix(end.size());
  return name;
}

// get_tty_driver() of CRIU's tty.c.
bool is_terminal(unsigned major_number, unsigned minor_number) {
  if (major_number == 5) return minor_number <= 2;                        // tty, console, ptmx
  if (major_number == 4) return minor_number >= 1 && minor_number <= 63;  // virtual terminals
  if (major_number == 188 || major_number == 204) return true;            // serial ones
  return major_number >= 128 && major_number <= 136;                      // ptys
}

// The value of a line "KEY:\tVALUE".
std::optional<int64_t> value_of(std::string_view fdinfo, std::string_view key, int base = 10) {
  for (const std::string& line : split(fdinfo, '\n')) {
    if (!line.starts_with(key) || line.substr(key.size(), 1) != ":") continue;
    const std::string word(trim(std::string_view(line).substr(key.size() + 1)));
    char* end = nullptr;
    const int64_t value = std::strtoll(word.c_str(), &end, base);
    if (end != word.c_str() && *end == '\0') return value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Finding> judge_anonymous(std::string_view link) {
  auto finding = look_up(kAnonymous, without(link, "anon_inode:", ""));
  if (finding) finding->object = std::string(without(finding->object, "[", "]"));
  return finding;
}

std::optional<Finding> judge_protocol(std::string_view protocol) {
  auto finding = look_up(kProtocols, protocol);
  if (finding) finding->object += " socket";
  return finding;
}

std::optional<Finding> judge_node(mode_t mode, dev_t device) {
  const unsigned number = major(device), second = minor(device);
  if (S_ISCHR(mode)) {
    constexpr unsigned kMemory = 1, kMisc = 10, kTun = 200, kAutofs = 235;
    if (number == kMemory || is_terminal(number, second)) return std::nullopt;
    if (number == kMisc && (second == kTun || second == kAutofs)) return std::nullopt;
  } else if (!S_ISBLK(mode)) {
    return std::nullopt;
  }
  return Finding{Severity::obstacle,
                 fmt::format("device {} {}:{}", S_ISBLK(mode) ? "block" : "char", number, second),
                 "CRIU does not save what a device's driver holds", kEndIt};
}

std::optional<Finding> judge_file(const HeldFile& file, const FileRules& rules) {
  if (S_ISCHR(file.mode) && rules.console == fmt::format("tty[{:x}:{:x}]", file.device, file.file_system))
    return std::nullopt;
  if (auto node = judge_node(file.mode, file.device)) return node;
  if (S_ISREG(file.mode) && file.file_system == rules.shared_memory) return std::nullopt;
  if (is_message_queue(file, rules)) return std::nullopt;
  const std::string name = fmt::format("file '{}'", shortened(file.link));
  const auto refuse = [&](const char* why, const char* cure) {
    return Finding{Severity::obstacle, name, why, cure};
  };
  if (S_ISSOCK(file.mode)) return refuse("it is a socket's name opened with O_PATH", "close it");
  const auto place = rules.mounts.places.find(file.mount);
  if (place != rules.mounts.places.end()) {
    if (!place->second.is_covered) return std::nullopt;
    return refuse("another mount lies over the one that it is on, so that its path leads elsewhere",
                  "unmount what lies over it, or end what uses it");
  }
  if (file.link.starts_with("/secretmem")) return refuse("CRIU does not save secret memory", kEndIt);
  if (file.link.starts_with("/memfd:") || file.link.starts_with("/anon_hugepage")) {
    if (rules.has_huge_pages) return std::nullopt;
    return refuse("it has huge pages, of which this host has none, and CRIU does not know it again",
                  "let the host have some: vm.nr_hugepages");
  }
  return refuse(
      "it is on no mount of the container: given from outside, unmounted, or a message queue without "
      "a mount of its file system",
      kEndIt);
}

bool is_message_queue(const HeldFile& file, const FileRules& rules) {
  return S_ISREG(file.mode) && rules.queues == file.file_system;
}

std::optional<Finding> judge_queue(const std::string& text) {
  if (parse_queue_state(text).notified == 0) return std::nullopt;
  return Finding{Severity::obstacle, "message queue",
                 "a process awaits a notification of it (mq_notify), which cannot be saved",
                 "try again when it has come, or end what awaits it"};
}

std::optional<Finding> judge_namespace_file(std::string_view link, const FileRules& rules) {
  const auto number = object_number(link, link.substr(0, link.find(':')));
  if (!number)
    return Finding{Severity::obstacle, fmt::format("file '{}'", shortened(link)),
                   "CRIU does not know this kind of file", kEndIt};
  if (rules.namespaces.contains(*number)) return std::nullopt;
  return Finding{Severity::obstacle, fmt::format("namespace '{}'", shortened(link)),
                 "no process of the container lives in that namespace, and CRIU saves those of processes",
                 "close it"};
}

std::optional<Finding> judge_watches(std::string_view fdinfo, const FileRules& rules) {
  for (const std::string& line : split(fdinfo, '\n')) {
    if (!line.starts_with("inotify wd:")) continue;
    const size_t at = line.find(" sdev:");
    if (at == std::string::npos) continue;
    const unsigned long device = std::strtoul(line.c_str() + at + 6, nullptr, 16);  // as the kernel has it
    const auto type = rules.mounts.types.find(fmt::format("{}:{}", device >> 20, device & 0xfffff));
    if (type != rules.mounts.types.end() && type->second != "proc") continue;
    return Finding{Severity::obstacle, "inotify watch",
                   type == rules.mounts.types.end()
                       ? "it is for a file on no mount of the container"
                       : "it is for a file of /proc, which CRIU cannot find again",
                   "end what watches it"};
  }
  return std::nullopt;
}

std::optional<Finding> judge_pidfd(std::string_view fdinfo, const Tree& tree) {
  constexpr int64_t kThread = O_EXCL;  // PIDFD_THREAD
  const auto flags = value_of(fdinfo, "flags", 8);
  if (flags && (*flags & kThread) != 0)
    return Finding{Severity::obstacle, "pidfd", "it is of a thread, which CRIU does not save", kEndIt};
  const auto pid = value_of(fdinfo, "Pid");
  if (!pid || *pid < 0 || tree.contains(static_cast<pid_t>(*pid))) return std::nullopt;
  return Finding{Severity::obstacle, "pidfd", "it is of a process that is not in the container's tree",
                 kEndIt};
}

}  // namespace holm::checkpoint
