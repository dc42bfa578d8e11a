#include "checkpoint/host_facts.h"

#include <fmt/core.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace holm::checkpoint {
namespace {

// Words of /proc/cpuinfo that tell of the kernel's or the machine's doings, and not what programs can
// execute.
constexpr std::array<std::string_view, 14> kNotInstructions = {
    "constant_tsc",       "nonstop_tsc", "rep_good",      "nopl",      "tsc_known_freq",
    "hypervisor",         "cpuid",       "tsc_reliable",  "xtopology", "arch_capabilities",
    "tsc_deadline_timer", "pti",         "ibrs_enhanced", "aperfmperf"};

std::string value_of(std::string_view line) {
  const size_t colon = line.find(':');
  return colon == std::string_view::npos ? "" : std::string(trim(line.substr(colon + 1)));
}

void read_cpu(HostFactsOfSave& facts) {
  for (const std::string& line : split(read_file("/proc/cpuinfo"), '\n')) {
    if (facts.cpu.empty() && (line.starts_with("model name") || line.starts_with("CPU implementer")))
      facts.cpu = value_of(line);
    if (facts.cpu_flags.empty() && (line.starts_with("flags") || line.starts_with("Features")))
      facts.cpu_flags = split_words(value_of(line));
  }
}

}  // namespace

HostFactsOfSave read_host_facts() {
  HostFactsOfSave facts;
  utsname names = {};
  ::uname(&names);
  facts.kernel = names.release;
  facts.machine = names.machine;
  read_cpu(facts);
  return facts;
}

void check_host(const HostFactsOfSave& saved, const HostFactsOfSave& here) {
  if (saved.machine != here.machine)
    throw Error(fmt::format("it was saved on a {} machine, and this is a {} one", shortened(saved.machine),
                            here.machine));
  std::vector<std::string> missing;
  for (const std::string& flag : saved.cpu_flags) {
    if (std::ranges::find(kNotInstructions, flag) != kNotInstructions.end()) continue;
    if (std::ranges::find(here.cpu_flags, flag) == here.cpu_flags.end()) missing.push_back(shortened(flag));
  }
  if (missing.empty()) return;
  const size_t count = missing.size();
  if (count > 12) missing.resize(12);
  throw Error(fmt::format("this host's CPU lacks {} of what the one had that it was saved on ({}): {}{}",
                          count, shortened(saved.cpu), join(missing, " "), count > 12 ? " ..." : ""))
      .hint(
          "programs choose at their start what they use, so they would crash; restore it on a host with such "
          "a CPU");
}

}  // namespace holm::checkpoint
