#include "isolation/resource_limits.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace holm::isolation {
namespace {

// What a container starts with where its spec says nothing. Whoever starts it may have odd limits in his
// shell (ulimit -t 10), which must not become those of a system: most soft limits go up to the hard one,
// which needs no right and is bounded by cgroups where it matters.
enum class Default {
  keep,  // as inherited
  soft_to_hard,
  soft_value,  // the soft limit is `value` where the hard one allows it
  open_files,
};

struct LimitRow {
  std::string_view name;
  int number;
  Default when_unset;
  rlim_t value = 0;
};

// Programs that close every possible descriptor, and select(2), need a low soft limit of open files; servers
// raise theirs to the hard one. The numbers are systemd's.
constexpr rlim_t kOpenFilesSoft = 1024;
constexpr rlim_t kOpenFilesHard = 524288;
constexpr rlim_t kStackSoft = 8 << 20;  // the kernel's own default; unlimited changes the memory layout

constexpr LimitRow kLimits[] = {
    {"as", RLIMIT_AS, Default::soft_to_hard},
    {"core", RLIMIT_CORE, Default::soft_value, 0},  // no memory image of a service lands on disk unasked
    {"cpu", RLIMIT_CPU, Default::soft_to_hard},
    {"data", RLIMIT_DATA, Default::soft_to_hard},
    {"fsize", RLIMIT_FSIZE, Default::soft_to_hard},
    {"locks", RLIMIT_LOCKS, Default::soft_to_hard},
    {"memlock", RLIMIT_MEMLOCK, Default::keep},
    {"msgqueue", RLIMIT_MSGQUEUE, Default::keep},
    {"nice", RLIMIT_NICE, Default::keep},
    {"nofile", RLIMIT_NOFILE, Default::open_files},
    {"nproc", RLIMIT_NPROC, Default::soft_to_hard},
    {"rss", RLIMIT_RSS, Default::soft_to_hard},
    {"rtprio", RLIMIT_RTPRIO, Default::keep},
    {"rttime", RLIMIT_RTTIME, Default::keep},
    {"sigpending", RLIMIT_SIGPENDING, Default::keep},
    {"stack", RLIMIT_STACK, Default::soft_value, kStackSoft},
};
static_assert(std::size(kLimits) == RLIMIT_NLIMITS);

const LimitRow* find_row(std::string_view name) {
  const auto* row = std::ranges::find(kLimits, name, &LimitRow::name);
  return row == std::end(kLimits) ? nullptr : row;
}

const LimitRow& require_row(const std::string& name) {
  const LimitRow* row = find_row(name);
  if (!row) throw Error(fmt::format("no resource limit '{}'", printable(name)));
  return *row;
}

std::string describe(rlim_t value) { return value == RLIM_INFINITY ? "unlimited" : std::to_string(value); }

rlimit read_limit(const LimitRow& row, pid_t process) {
  rlimit limit{};
  if (::prlimit(process, static_cast<__rlimit_resource>(row.number), nullptr, &limit) != 0)
    throw Error::system(fmt::format("read resource limit '{}'", row.name));
  return limit;
}

// What the hard limit that the kernel holds on to is of.
enum class Held { host, container };

Error cannot_set(const LimitRow& row, const rlimit& wanted, const rlimit& held, Held what, int error_number) {
  Error error = Error::system(
      error_number, fmt::format("set resource limit '{}' to {}", row.name, describe(wanted.rlim_max)));
  if (error_number != EPERM) return error;
  if (row.number == RLIMIT_NOFILE)  // an answer to a question that decides only the hint
    if (const auto ceiling = read_file_if_exists("/proc/sys/fs/nr_open"))
      if (const auto most = parse_unsigned(trim(*ceiling)); most && wanted.rlim_max > *most)
        return error.hint(fmt::format("the host's kernel allows at most {}: sysctl fs.nr_open", *most));
  if (what == Held::container)
    return error.hint(fmt::format(
        "its processes have {}, which only CAP_SYS_RESOURCE may raise while they run; 'holm set --saved' "
        "raises it from the next start on",
        describe(held.rlim_max)));
  return error.hint(fmt::format(
      "the host's hard limit is {} and only CAP_SYS_RESOURCE may raise it; raise it for whoever starts "
      "Holm (LimitXXX= of its systemd unit, limits.conf), or lower limits.{} in the config",
      describe(held.rlim_max), row.name));
}

void write_limit(const LimitRow& row, pid_t process, const rlimit& wanted, const rlimit& held, Held what) {
  if (wanted.rlim_cur == held.rlim_cur && wanted.rlim_max == held.rlim_max) return;
  if (::prlimit(process, static_cast<__rlimit_resource>(row.number), &wanted, nullptr) != 0)
    throw cannot_set(row, wanted, held, what, errno);
}

}  // namespace

rlimit default_limit(const std::string& name, const rlimit& inherited) {
  const LimitRow& row = require_row(name);
  const rlim_t hard = inherited.rlim_max;
  switch (row.when_unset) {
    case Default::keep:
      return inherited;
    case Default::soft_to_hard:
      return {hard, hard};
    case Default::soft_value:
      return {std::min(row.value, hard), hard};
    case Default::open_files:
      return {std::min(kOpenFilesSoft, hard), std::min(kOpenFilesHard, hard)};
  }
  return inherited;
}

namespace {

rlimit wanted_limit(const ResourceLimits& limits, const LimitRow& row, const rlimit& inherited) {
  const auto asked = limits.find(std::string(row.name));
  return asked == limits.end() ? default_limit(std::string(row.name), inherited)
                               : rlimit{asked->second, asked->second};
}

}  // namespace

void apply_resource_limits(const ResourceLimits& limits, pid_t process) {
  for (const auto& [name, value] : limits) require_row(name);
  for (const LimitRow& row : kLimits) {
    const rlimit held = read_limit(row, process);
    write_limit(row, process, wanted_limit(limits, row, read_limit(row, 0)), held, Held::host);
  }
}

UnlimitedNamespaces::UnlimitedNamespaces() {
  const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  for (const auto number : {RLIMIT_MSGQUEUE, RLIMIT_SIGPENDING, RLIMIT_MEMLOCK}) {
    rlimit own = {};
    if (::prlimit(0, number, nullptr, &own) == 0 && ::prlimit(0, number, &unlimited, nullptr) == 0)
      own_[number] = own;
  }
}

UnlimitedNamespaces::~UnlimitedNamespaces() {
  for (const auto& [number, own] : own_) ::prlimit(0, static_cast<__rlimit_resource>(number), &own, nullptr);
}

std::map<int, rlimit> granted_limits(const ResourceLimits& limits) {
  std::map<int, rlimit> granted;
  for (const LimitRow& row : kLimits)
    granted.emplace(row.number, wanted_limit(limits, row, read_limit(row, 0)));
  return granted;
}

rlimit resource_limit_of(const std::string& name, pid_t process) {
  return read_limit(require_row(name), process);
}

void change_resource_limit(const std::string& name, pid_t process, rlim_t hard, const rlimit& wanted) {
  const LimitRow& row = require_row(name);
  try {
    const rlimit held = read_limit(row, process);
    if (held.rlim_max == hard) write_limit(row, process, wanted, held, Held::container);
  } catch (const Error& error) {
    if (error.error_number() != ESRCH) throw;
  }
}

int resource_limit_number(const std::string& name) {
  const LimitRow* row = find_row(name);
  return row ? row->number : -1;
}

std::vector<std::string_view> resource_limit_names() {
  std::vector<std::string_view> names;
  for (const LimitRow& row : kLimits) names.push_back(row.name);
  return names;
}

}  // namespace holm::isolation
