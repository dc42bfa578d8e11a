// Turns the table of seccomp_policy.cpp into BPF programs, as a C++ source file that `holm` is built with, so
// that a start costs neither libseccomp nor its work.
//
//   seccomp_compile MACHINE OUTPUT          MACHINE: x86_64 or aarch64
//
// Each program is then run on every call number, and on chosen arguments, against the table as it is written;
// a difference fails the build.
#include <linux/audit.h>
#include <seccomp.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

#include "isolation/seccomp_compile/program.h"

namespace holm::seccomp_compile {
namespace {

using namespace isolation;

constexpr uint32_t kErrnoRefused = SECCOMP_RET_ERRNO | EPERM;
constexpr uint32_t kErrnoUnknown = SECCOMP_RET_ERRNO | ENOSYS;
constexpr uint32_t kHighestTableNumber = 1023;

enum class Variant { standard, with_io_uring };

struct ArchitectureNames {
  uint32_t seccomp_number;           // SCMP_ARCH_
  uint32_t audit_number;             // AUDIT_ARCH_
  std::set<uint32_t> private_first;  // where numbers of the architecture's own begin
};

// x32 has the audit number of x86_64 and numbers from 0x40000000 on: no table has them, so they are unknown.
std::vector<ArchitectureNames> architectures_of(const std::string& machine) {
  if (machine == "x86_64")
    return {{SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, {}}, {SCMP_ARCH_X86, AUDIT_ARCH_I386, {}}};
  if (machine == "aarch64")
    return {{SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, {}}, {SCMP_ARCH_ARM, AUDIT_ARCH_ARM, {0xf0000}}};
  throw std::runtime_error("no filter for machine '" + machine + "': it is x86_64 or aarch64");
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// The policy by name. Throws where a name is listed twice or libseccomp knows it on no machine.
std::map<std::string, Verdict> verdicts_by_name(Variant variant) {
  std::map<std::string, Verdict> verdicts;
  const auto add = [&](const std::string& name, const Verdict& verdict) {
    if (seccomp_syscall_resolve_name(name.c_str()) == __NR_SCMP_ERROR)
      throw std::runtime_error("'" + name + "' is no system call that libseccomp knows");
    if (!verdicts.emplace(name, verdict).second) throw std::runtime_error("'" + name + "' is listed twice");
  };
  for (const AllowedCalls& group : allowed_calls())
    for (const std::string& name : words_of(group.calls)) add(name, {SECCOMP_RET_ALLOW});
  for (const RefusedCalls& group : refused_calls()) {
    const bool allowed = group.unless == RefusedUnless::io_uring && variant == Variant::with_io_uring;
    for (const std::string& name : words_of(group.calls))
      add(name, {allowed ? SECCOMP_RET_ALLOW : kErrnoRefused});
  }
  for (const ArgumentRule& rule : argument_rules()) add(std::string(rule.call), {0, &rule});
  return verdicts;
}

std::string name_of(uint32_t architecture, uint32_t number) {
  const std::unique_ptr<char, void (*)(void*)> name(
      seccomp_syscall_resolve_num_arch(architecture, static_cast<int>(number)), std::free);
  return name ? name.get() : "";
}

// Numbers are given their names, rather than names their numbers, because libseccomp answers the latter on
// 32-bit x86 with numbers of its own for calls that can also be made by socketcall or ipc.
Architecture resolve(const ArchitectureNames& names, const std::map<std::string, Verdict>& verdicts) {
  Architecture architecture{names.audit_number, {}};
  std::set<uint32_t> starts = names.private_first;
  starts.insert(0);
  for (const uint32_t start : starts)
    for (uint32_t number = start; number <= start + kHighestTableNumber; ++number)
      if (const auto found = verdicts.find(name_of(names.seccomp_number, number)); found != verdicts.end())
        architecture.calls.emplace(number, found->second);
  for (const NumberedCall& call : numbered_calls()) {
    if (call.machines == OnMachines::x86_64 && names.seccomp_number != SCMP_ARCH_X86_64) continue;
    const std::string known = name_of(names.seccomp_number, call.number);
    if (!known.empty() && known != call.name)
      throw std::runtime_error("number " + std::to_string(call.number) + " is '" + known + "', not '" +
                               std::string(call.name) + "'");
    architecture.calls[call.number] = {SECCOMP_RET_ALLOW};
  }
  return architecture;
}

uint32_t expected(const Verdict& verdict, uint32_t argument) {
  if (!verdict.rule) return verdict.action;
  bool listed = false;
  for (const uint32_t value : verdict.rule->values) listed = listed || value == argument;
  return listed == (verdict.rule->listed == Listed::allowed)
             ? SECCOMP_RET_ALLOW
             : SECCOMP_RET_ERRNO | static_cast<uint32_t>(verdict.rule->error_number);
}

void expect(const Program& program, const seccomp_data& call, uint32_t answer) {
  if (run_program(program, call) != answer)
    throw std::logic_error("the filter answers call " + std::to_string(call.nr) + " of architecture " +
                           std::to_string(call.arch) + " otherwise than the table says");
}

// All numbers up to 2^20 and the ends of the range, each listed value and its neighbours, with and without
// high bits.
void prove(const Program& program, const std::vector<Architecture>& architectures) {
  for (const Architecture& architecture : architectures) {
    for (uint32_t number = 0; number <= 1U << 20; ++number) {
      const auto found = architecture.calls.find(number);
      const Verdict verdict = found == architecture.calls.end() ? Verdict{kErrnoUnknown} : found->second;
      seccomp_data call{static_cast<int>(number), architecture.audit_number, 0, {}};
      expect(program, call, expected(verdict, 0));
      if (!verdict.rule) continue;
      for (const uint32_t value : verdict.rule->values)
        for (const uint32_t argument : {value - 1, value, value + 1})
          for (const uint64_t high : {uint64_t{0}, uint64_t{1} << 32, ~uint64_t{0} << 32}) {
            call.args[verdict.rule->argument] = high | argument;
            expect(program, call, expected(verdict, argument));
          }
    }
    for (const uint32_t number : {0x40000000U, 0x40000001U, 0x7fffffffU, 0x80000000U, 0xffffffffU})
      expect(program, {static_cast<int>(number), architecture.audit_number, 0, {}}, kErrnoUnknown);
  }
  for (const uint32_t other : {0U, uint32_t{AUDIT_ARCH_RISCV64}})
    expect(program, {0, other, 0, {}}, kErrnoUnknown);
}

Program compile(const std::string& machine, Variant variant) {
  const std::map<std::string, Verdict> verdicts = verdicts_by_name(variant);
  std::vector<Architecture> architectures;
  for (const ArchitectureNames& names : architectures_of(machine))
    architectures.push_back(resolve(names, verdicts));
  Program program = build_program(architectures, {kErrnoUnknown});
  prove(program, architectures);
  return program;
}

void write(std::ostream& out, const std::string& name, const Program& program) {
  out << "constexpr sock_filter k" << name << "Instructions[] = {\n";
  for (const sock_filter& instruction : program)
    out << "    {" << instruction.code << ", " << int{instruction.jt} << ", " << int{instruction.jf} << ", "
        << instruction.k << "U},\n";
  out << "};\n";
}

void write_source(std::ostream& out, const std::string& machine) {
  out << "// Written by seccomp_compile for " << machine
      << ".\n"
         "#include <linux/filter.h>\n\n#include <span>\n\nnamespace holm::isolation::generated {\nnamespace "
         "{\n";
  write(out, "Standard", compile(machine, Variant::standard));
  write(out, "WithIoUring", compile(machine, Variant::with_io_uring));
  out << "}  // namespace\n"
         "extern const std::span<const sock_filter> kSeccompStandard;\n"
         "extern const std::span<const sock_filter> kSeccompWithIoUring;\n"
         "constinit const std::span<const sock_filter> kSeccompStandard = kStandardInstructions;\n"
         "constinit const std::span<const sock_filter> kSeccompWithIoUring = kWithIoUringInstructions;\n"
         "}  // namespace holm::isolation::generated\n";
}

}  // namespace
}  // namespace holm::seccomp_compile

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw std::runtime_error("usage: seccomp_compile MACHINE OUTPUT");
    std::ostringstream source;  // whole before the file is touched: make takes a half file for a made one
    holm::seccomp_compile::write_source(source, argv[1]);
    std::ofstream out(argv[2]);
    if (!(out << source.str()).flush())
      throw std::runtime_error(std::string("cannot write '") + argv[2] + "'");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "seccomp_compile: %s\n", error.what());
    return 1;
  }
}
