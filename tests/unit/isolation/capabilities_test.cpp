#include <doctest/doctest.h>
#include <fmt/core.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include <memory>

#include "base/process.h"
#include "base/text.h"
#include "isolation/capabilities.h"
#include "isolation/id_map.h"
#include "tests/unit/isolation/child.h"

using namespace holm;
using namespace holm::isolation;

namespace {

SecuritySpec spec_with(std::vector<std::string> changes, bool user_namespace = true) {
  SecuritySpec spec;
  spec.user_namespace = user_namespace;
  spec.capabilities = std::move(changes);
  return spec;
}

// Runs `body` as root of a new user namespace with ids of its own.
template <class Body>
std::string in_user_namespace(Body body) {
  return test::in_child([&] {
    const UniqueFd user_namespace = make_user_namespace_fd({.first = 3'000'000'000});
    sys::set_namespaces(user_namespace.get(), CLONE_NEWUSER, "test");
    if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)
      return std::string("cannot become root inside");
    return std::string(body());
  });
}

std::string status_line(const std::string& status, const std::string& key) {
  const size_t start = status.find(key + ":\t") + key.size() + 2;
  return status.substr(start, status.find('\n', start) - start);
}

}  // namespace

TEST_CASE("the names of capabilities are those of libcap") {
  for (int number = 0; number <= CAP_CHECKPOINT_RESTORE; ++number) {
    const std::unique_ptr<char, int (*)(void*)> name(cap_to_name(number), cap_free);
    CHECK("cap_" + capability_name(number) == name.get());
    CHECK(capability_number(name.get()) == number);
  }
  CHECK(capability_number("NET_RAW") == CAP_NET_RAW);
  CHECK(capability_number("CAP_NET_RAW") == CAP_NET_RAW);
  for (const char* bad : {"", "cap_", "net raw", "13", "all", "net_ra"}) CHECK(capability_number(bad) == -1);
}

TEST_CASE("a container with a user namespace has all capabilities but those over the host") {
  CHECK(describe_capabilities(bounding_set(spec_with({}))) ==
        "chown,dac_override,dac_read_search,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_"
        "broadcast,net_admin,"
        "net_raw,ipc_lock,ipc_owner,sys_chroot,sys_ptrace,sys_admin,sys_boot,sys_nice,sys_resource,sys_tty_"
        "config,mknod,lease,"
        "audit_write,setfcap");
}

TEST_CASE("a container without a user namespace has the few that a server needs") {
  CHECK(describe_capabilities(bounding_set(spec_with({}, false))) ==
        "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,"
        "mknod,audit_write,setfcap");
}

TEST_CASE("the spec adds and removes capabilities by name") {
  const CapabilitySet set = bounding_set(spec_with({"+syslog", "-CAP_MKNOD"}));
  CHECK(set.has(CAP_SYSLOG));
  CHECK_FALSE(set.has(CAP_MKNOD));
  CHECK(set.has(CAP_CHOWN));
}

TEST_CASE("a change that is not understood is named, with the one that was meant") {
  const auto report_of = [](const std::vector<std::string>& changes) -> std::string {
    try {
      bounding_set(spec_with(changes));
    } catch (const Error& error) {
      CHECK(error.exit_status() == kExitUsage);
      return error.report();
    }
    return "";
  };
  CHECK(report_of({"+net_rwa"}) ==
        "capability '+net_rwa': there is none of that name\n  hint: did you mean '+net_raw'?");
  CHECK(report_of({"net_raw"}).starts_with("capability 'net_raw': a change begins with + or -"));
  CHECK(report_of({""}).starts_with("capability '': a change begins with + or -"));
  CHECK(report_of({"+"}).starts_with("capability '+': there is none of that name"));
  CHECK(report_of({"+mknod", "-mknod"}) == "capability 'mknod' is both added and removed");
}

TEST_CASE("root of a container keeps the bounding set and nothing else, also over execve") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  const CapabilitySet bounding = bounding_set(spec_with({"-mknod"}));
  const std::string status = in_user_namespace([&] {
    become_payload(bounding, {.uid = 0, .gid = 0, .groups = {0, 5}});
    return run_program_or_throw({"cat", "/proc/self/status"});
  });
  CAPTURE(status);
  const std::string mask = fmt::format("{:016x}", bounding.bits);
  CHECK(status_line(status, "CapBnd") == mask);
  CHECK(status_line(status, "CapPrm") == mask);
  CHECK(status_line(status, "CapEff") == mask);
  CHECK(status_line(status, "CapInh") == "0000000000000000");
  CHECK(status_line(status, "CapAmb") == "0000000000000000");
  CHECK(split_words(status_line(status, "Groups")) == std::vector<std::string>{"0", "5"});
}

TEST_CASE("another user of a container has no capability, before execve and after") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  const std::string status = in_user_namespace([&] {
    ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);  // would let capabilities outlive the change of user
    become_payload(bounding_set(spec_with({})), {.uid = 33, .gid = 34, .groups = {34}});
    return read_file("/proc/self/status") + "After " + run_program_or_throw({"cat", "/proc/self/status"});
  });
  CAPTURE(status);
  for (const std::string& part :
       {status.substr(0, status.find("After ")), status.substr(status.find("After "))}) {
    for (const char* key : {"CapPrm", "CapEff", "CapInh", "CapAmb"})
      CHECK(status_line(part, key) == "0000000000000000");
    CHECK(split_words(status_line(part, "Uid")) == std::vector<std::string>{"33", "33", "33", "33"});
    CHECK(split_words(status_line(part, "Gid")) == std::vector<std::string>{"34", "34", "34", "34"});
  }
}

TEST_CASE("an ambient or inheritable capability of whoever started Holm does not reach the payload") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  const std::string status = in_user_namespace([&] {
    const std::unique_ptr<void, int (*)(void*)> held(cap_get_proc(), cap_free);
    const cap_value_t value = CAP_NET_ADMIN;
    cap_set_flag(static_cast<cap_t>(held.get()), CAP_INHERITABLE, 1, &value, CAP_SET);
    cap_set_proc(static_cast<cap_t>(held.get()));
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0)
      return std::string("cannot raise");
    become_payload(bounding_set(spec_with({})), {.uid = 33, .gid = 33, .groups = {33}});
    return run_program_or_throw({"cat", "/proc/self/status"});
  });
  CAPTURE(status);
  for (const char* key : {"CapPrm", "CapEff", "CapInh", "CapAmb"})
    CHECK(status_line(status, key) == "0000000000000000");
}

TEST_CASE("a capability that Holm does not have itself cannot be given, and the message names it") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  const std::string text = in_user_namespace([&]() -> std::string {
    ::prctl(PR_CAPBSET_DROP, CAP_MKNOD, 0, 0, 0);
    become_payload(bounding_set(spec_with({})), {});
    return "became";
  });
  CHECK(text.starts_with(
      "error: capabilities 'mknod' cannot be given: Holm itself does not have them\n  hint: "));
}

TEST_CASE("without rights the payload's user cannot be taken on, and nothing pretends it was") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  const std::string text = in_user_namespace([&]() -> std::string {
    if (::setresuid(33, 33, 33) != 0) return "cannot give up root";
    become_payload(bounding_set(spec_with({})), {.uid = 0});
    return "became";
  });
  CHECK(text ==
        "error: drop capability 'linux_immutable' from the bounding set: Operation not permitted (EPERM)");
}
