#include "checkpoint/host_facts.h"

#include <doctest/doctest.h>
#include <sys/utsname.h>

#include "base/error.h"

using namespace holm;
using namespace holm::checkpoint;

namespace {

HostFactsOfSave host(const std::vector<std::string>& flags, const std::string& machine = "x86_64") {
  return {"6.12.1", machine, "4.2.1", "A CPU", flags};
}

std::string refusal(const HostFactsOfSave& saved, const HostFactsOfSave& here) {
  try {
    check_host(saved, here);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("this host's own facts are known, and it can take what it saved") {
  const HostFactsOfSave here = read_host_facts();
  utsname names = {};
  ::uname(&names);
  CHECK(here.kernel == names.release);
  CHECK(here.machine == names.machine);
  CHECK_FALSE(here.cpu_flags.empty());
  CHECK(refusal(here, here).empty());
}

TEST_CASE("a CPU that has more is fine, one that has less is named with what it lacks") {
  CHECK(refusal(host({"fpu", "avx"}), host({"fpu", "avx", "avx2"})).empty());
  CHECK(refusal(host({}), host({})).empty());
  CHECK(refusal(host({"fpu", "avx2", "avx512f"}), host({"fpu"})) ==
        "this host's CPU lacks 2 of what the one had that it was saved on (A CPU): avx2 avx512f");
  // The beginning of another's name is not the other.
  CHECK_FALSE(refusal(host({"avx"}), host({"avx2"})).empty());
}

TEST_CASE("what only tells of the kernel or a hypervisor is no part of what programs use") {
  CHECK(refusal(host({"fpu", "hypervisor", "constant_tsc", "nopl", "cpuid", "tsc_known_freq"}), host({"fpu"}))
            .empty());
}

TEST_CASE("another machine, and an older kernel or CRIU") {
  CHECK(refusal(host({}, "aarch64"), host({})) ==
        "it was saved on a aarch64 machine, and this is a x86_64 one");
  HostFactsOfSave older = host({"fpu"});
  older.kernel = "5.10.0";
  older.criu = "3.17.1";
  CHECK(refusal(host({"fpu"}), older).empty());
}

TEST_CASE("a long list is cut, and what a file says of itself is made safe for a terminal") {
  std::vector<std::string> many;
  for (int i = 0; i < 40; ++i) many.push_back("flag" + std::to_string(i));
  const std::string message = refusal(host(many), host({}));
  CHECK(message.find("lacks 40 of") != std::string::npos);
  CHECK(message.find("flag11 ...") != std::string::npos);
  CHECK(message.find("flag12") == std::string::npos);
  HostFactsOfSave evil = host({"\x1b[31m" + std::string(5000, 'x')}, "x86_64");
  evil.cpu = "\x1b]0;title\x07" + std::string(100'000, 'y');
  const std::string shown = refusal(evil, host({}));
  CHECK(shown.size() < 2000);
  for (const char c : shown) CHECK(static_cast<unsigned char>(c) >= ' ');
  evil.machine = "\x1b[2J" + std::string(100'000, 'z');
  CHECK(refusal(evil, host({})).size() < 2000);
}
