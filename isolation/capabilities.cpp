#include "isolation/capabilities.h"

#include <fmt/core.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace holm::isolation {
namespace {

// By number, as in linux/capability.h. libcap would know the names too; four system calls and this table save
// each start the loading of it.
constexpr std::string_view kNames[] = {
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
};
constexpr int kNamed = static_cast<int>(std::size(kNames));
static_assert(kNamed == CAP_CHECKPOINT_RESTORE + 1);

// The kernel's sets have 64 bits.
constexpr int kNumbers = 64;

// With a user namespace: capabilities count only over what the container owns, so it gets all that mean
// anything there, except these. A capability that is newer than the table of names is never given.
constexpr int kWithheld[] = {
    CAP_MAC_ADMIN,
    CAP_MAC_OVERRIDE,  // the host's access policy (AppArmor, SELinux, Smack)
    CAP_SYS_TIME,      // the host's clock
    CAP_SYS_MODULE,
    CAP_SYS_RAWIO,  // the host's kernel and hardware
    CAP_SYSLOG,     // the host's kernel log
    CAP_WAKE_ALARM,
    CAP_BLOCK_SUSPEND,  // the host's sleep
    CAP_BPF,
    CAP_PERFMON,             // code in, and a view of, the host's kernel
    CAP_CHECKPOINT_RESTORE,  // chooses pids and reads what map_files hides; CRIU works from outside
    CAP_LINUX_IMMUTABLE,     // files that Holm could not remove
    CAP_AUDIT_CONTROL,
    CAP_AUDIT_READ,  // the host's audit log
    CAP_SYS_PACCT,   // the host's process accounting
};

// Without one: capabilities count over the host. What a server program needs and no more; nothing that
// mounts, traces, configures networks or overrides limits.
constexpr int kGivenWithoutUserNamespace[] = {
    CAP_CHOWN,   CAP_DAC_OVERRIDE,     CAP_FOWNER,  CAP_FSETID,     CAP_KILL,  CAP_SETGID,      CAP_SETUID,
    CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT, CAP_MKNOD, CAP_AUDIT_WRITE, CAP_SETFCAP,
};

CapabilitySet default_set(bool user_namespace) {
  CapabilitySet set;
  if (user_namespace) {
    for (int number = 0; number < kNamed; ++number) set.add(number);
    for (const int number : kWithheld) set.remove(number);
  } else {
    for (const int number : kGivenWithoutUserNamespace) set.add(number);
  }
  return set;
}

Error unknown_capability(const std::string& change, const std::string& name) {
  Error error = usage_error(fmt::format("capability '{}': there is none of that name", printable(change)));
  if (const auto meant = nearest(name, kNames))
    error.hint(fmt::format("did you mean '{}{}'?", change.front(), *meant));
  return error;
}

// --- the calling thread

void drop_from_bounding_set(const CapabilitySet& bounding) {
  const CapabilitySet held = current_bounding_set();
  if (const CapabilitySet missing{bounding.bits & ~held.bits}; missing.bits != 0) {
    throw Error(fmt::format("capabilities '{}' cannot be given: Holm itself does not have them",
                            describe_capabilities(missing)))
        .hint(
            "an outer container or an older kernel withholds them; take them out with capabilities = "
            "[\"-NAME\"]");
  }
  for (int number = 0; number < kNumbers; ++number)
    if (held.has(number) && !bounding.has(number) && ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
      throw Error::system(fmt::format("drop capability '{}' from the bounding set", capability_name(number)));
}

// Securebits of whoever started Holm may make root powerless after execve(2), or let capabilities outlive a
// change of user. A new user namespace starts without any; without one they are the host's.
void reset_securebits() {
  const int bits = ::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
  if (bits < 0) throw Error::system("read the securebits");
  if (bits != SECUREBITS_DEFAULT && ::prctl(PR_SET_SECUREBITS, SECUREBITS_DEFAULT, 0, 0, 0) != 0)
    throw Error::system("reset the securebits");
}

void change_user(const PayloadCredentials& credentials) {
  const auto& [uid, gid, groups] = credentials;
  if (::setgroups(groups.size(), groups.data()) != 0)
    throw Error::system(fmt::format("set {} supplementary groups", groups.size()));
  if (::setresgid(gid, gid, gid) != 0) throw Error::system(fmt::format("become group {}", gid));
  if (::setresuid(uid, uid, uid) != 0) throw Error::system(fmt::format("become user {}", uid));
  // On hosts with fs.suid_dumpable = 1 the change made us traceable, with what we still hold of the host.
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) throw Error::system("set not dumpable");
}

struct ThreadCapabilities {
  CapabilitySet permitted, effective, inheritable;
  bool operator==(const ThreadCapabilities&) const = default;
};

__user_cap_header_struct this_thread() { return {_LINUX_CAPABILITY_VERSION_3, 0}; }

ThreadCapabilities read_capabilities() {
  __user_cap_header_struct header = this_thread();
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) throw Error::system("read the capabilities of this process");
  const auto join_halves = [](uint32_t low, uint32_t high) {
    return CapabilitySet{uint64_t{high} << 32 | low};
  };
  return {join_halves(data[0].permitted, data[1].permitted),
          join_halves(data[0].effective, data[1].effective),
          join_halves(data[0].inheritable, data[1].inheritable)};
}

void write_capabilities(const ThreadCapabilities& wanted) {
  __user_cap_header_struct header = this_thread();
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  for (unsigned half = 0; half < _LINUX_CAPABILITY_U32S_3; ++half) {
    const auto part = [&](const CapabilitySet& set) {
      return static_cast<uint32_t>(set.bits >> (32 * half));
    };
    data[half] = {part(wanted.effective), part(wanted.permitted), part(wanted.inheritable)};
  }
  if (::syscall(SYS_capset, &header, data) != 0)
    throw Error::system("give up the capabilities of this process");
}

bool has_ambient_capability() {
  for (int number = 0; number < kNumbers; ++number)
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number, 0, 0) == 1) return true;
  return false;
}

std::vector<gid_t> current_groups() {
  const int count = ::getgroups(0, nullptr);
  if (count < 0) throw Error::system("count the supplementary groups");
  std::vector<gid_t> groups(static_cast<size_t>(count));
  if (::getgroups(count, groups.data()) != count) throw Error::system("read the supplementary groups");
  return groups;
}

bool same_groups(std::vector<gid_t> some, std::vector<gid_t> others) {
  std::ranges::sort(some);
  std::ranges::sort(others);
  return some == others;
}

// Confinement that was asked for and is not there is an error, whatever the calls before have answered.
void verify(const CapabilitySet& bounding, const ThreadCapabilities& wanted,
            const PayloadCredentials& credentials) {
  uid_t real = 0, effective = 0, saved = 0;
  const bool is_user = ::getresuid(&real, &effective, &saved) == 0 && real == credentials.uid &&
                       effective == credentials.uid && saved == credentials.uid;
  const bool is_group = ::getresgid(&real, &effective, &saved) == 0 && real == credentials.gid &&
                        effective == credentials.gid && saved == credentials.gid;
  if (!is_user || !is_group || !same_groups(current_groups(), credentials.groups))
    throw Error(
        fmt::format("the kernel did not take user {} and group {}", credentials.uid, credentials.gid));
  if (const CapabilitySet held = current_bounding_set(); held != bounding)
    throw Error(fmt::format("the kernel keeps the bounding set '{}', not '{}'", describe_capabilities(held),
                            describe_capabilities(bounding)));
  if (read_capabilities() != wanted) throw Error("the kernel keeps other capabilities than were asked for");
  if (has_ambient_capability()) throw Error("the kernel keeps an ambient capability");
}

}  // namespace

int capability_number(const std::string& name) {
  std::string wanted = name;
  std::ranges::transform(wanted, wanted.begin(),
                         [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  if (wanted.starts_with("cap_")) wanted.erase(0, 4);
  const auto* found = std::ranges::find(kNames, wanted);
  return found == std::end(kNames) ? -1 : static_cast<int>(found - kNames);
}

std::string capability_name(int number) {
  return number >= 0 && number < kNamed ? std::string(kNames[number]) : std::to_string(number);
}

std::string describe_capabilities(const CapabilitySet& set) {
  std::vector<std::string> names;
  for (int number = 0; number < kNumbers; ++number)
    if (set.has(number)) names.push_back(capability_name(number));
  return join(names, ",");
}

CapabilitySet bounding_set(const SecuritySpec& security) {
  CapabilitySet set = default_set(security.user_namespace);
  CapabilitySet added, removed;
  for (const std::string& change : security.capabilities) {
    if (change.empty() || (change.front() != '+' && change.front() != '-'))
      throw usage_error(fmt::format("capability '{}': a change begins with + or -", printable(change)))
          .hint("for example \"+net_raw\" or \"-mknod\"");
    const std::string name = change.substr(1);
    const int number = capability_number(name);
    if (number < 0) throw unknown_capability(change, name);
    (change.front() == '+' ? added : removed).add(number);
  }
  if (const CapabilitySet both{added.bits & removed.bits}; both.bits != 0)
    throw usage_error(fmt::format("capability '{}' is both added and removed", describe_capabilities(both)));
  set.bits = (set.bits | added.bits) & ~removed.bits;
  return set;
}

CapabilitySet current_bounding_set() {
  CapabilitySet set;
  for (int number = 0; number < kNumbers; ++number)
    if (::prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1)
      set.add(number);  // EINVAL: the kernel has no such capability
  return set;
}

void become_payload(const CapabilitySet& bounding, const PayloadCredentials& credentials) {
  // The order is forced: dropping needs CAP_SETPCAP and changing the user CAP_SETUID, and only capset(2)
  // gives those up.
  drop_from_bounding_set(bounding);
  reset_securebits();
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    throw Error::system("clear the ambient capabilities");
  change_user(credentials);
  // execve(2) gives root the whole bounding set again, so that is what it holds already now.
  const CapabilitySet kept = credentials.uid == 0 ? bounding : CapabilitySet{};
  const ThreadCapabilities wanted = {.permitted = kept, .effective = kept, .inheritable = {}};
  write_capabilities(wanted);
  verify(bounding, wanted, credentials);
}

}  // namespace holm::isolation
