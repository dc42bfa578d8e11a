#include "isolation/seccomp_compile/program.h"

#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>

namespace holm::seccomp_compile {
namespace {

using isolation::ArgumentRule;
using isolation::Listed;

struct Interval {
  uint32_t first = 0;  // it ends where the next one begins
  Verdict verdict;
};

sock_filter statement(uint16_t code, uint32_t value) { return {code, 0, 0, value}; }

sock_filter jump(uint16_t comparison, uint32_t value, size_t if_true, size_t if_false) {
  if (if_true > 255 || if_false > 255) throw std::logic_error("a BPF jump is too far");
  return {static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), static_cast<uint8_t>(if_true),
          static_cast<uint8_t>(if_false), value};
}

sock_filter load(size_t offset) { return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }
sock_filter answer(uint32_t action) { return statement(BPF_RET | BPF_K, action); }

// Neighbouring numbers with one verdict are one interval; the numbers between and after them are unknown.
std::vector<Interval> intervals_of(const std::map<uint32_t, Verdict>& calls, const Verdict& unknown) {
  std::vector<Interval> intervals = {{0, unknown}};
  const auto continue_with = [&](uint32_t first, const Verdict& verdict) {
    if (intervals.back().first == first) intervals.pop_back();
    if (intervals.empty() || intervals.back().verdict != verdict) intervals.push_back({first, verdict});
  };
  for (const auto& [number, verdict] : calls) {
    continue_with(number, verdict);
    continue_with(number + 1, unknown);
  }
  return intervals;
}

// Both machines that Holm runs on are little-endian: the low half of an argument comes first.
Program rule_code(const ArgumentRule& rule) {
  const uint32_t refused = SECCOMP_RET_ERRNO | static_cast<uint32_t>(rule.error_number);
  const uint32_t listed = rule.listed == Listed::allowed ? SECCOMP_RET_ALLOW : refused;
  const uint32_t others = rule.listed == Listed::allowed ? refused : SECCOMP_RET_ALLOW;
  Program code = {load(offsetof(seccomp_data, args) + 8 * rule.argument)};
  for (size_t i = 0; i < rule.values.size(); ++i)
    code.push_back(jump(BPF_JEQ, rule.values[i], rule.values.size() - i, 0));
  code.push_back(answer(others));
  code.push_back(answer(listed));
  return code;
}

void append(Program& program, const Program& more) {
  program.insert(program.end(), more.begin(), more.end());
}

// A balanced binary search over the intervals; the accumulator holds the call's number.
Program search_code(std::span<const Interval> intervals) {
  if (intervals.size() == 1) {
    const Verdict& verdict = intervals.front().verdict;
    return verdict.rule ? rule_code(*verdict.rule) : Program{answer(verdict.action)};
  }
  const size_t middle = intervals.size() / 2;
  const Program lower = search_code(intervals.first(middle));
  const Program upper = search_code(intervals.subspan(middle));
  const uint32_t first_of_upper = intervals[middle].first;
  Program code;
  if (lower.size() <= 255) {
    code.push_back(jump(BPF_JGE, first_of_upper, lower.size(), 0));
  } else {  // a conditional jump reaches 255 instructions, an unconditional one any
    code.push_back(jump(BPF_JGE, first_of_upper, 0, 1));
    code.push_back(statement(BPF_JMP | BPF_JA, static_cast<uint32_t>(lower.size())));
  }
  append(code, lower);
  append(code, upper);
  return code;
}

uint32_t word_at(const seccomp_data& call, uint32_t offset) {
  if (offset % 4 != 0 || offset + 4 > sizeof call)
    throw std::logic_error("a BPF load is outside of the call");
  uint32_t word = 0;
  std::memcpy(&word, reinterpret_cast<const char*>(&call) + offset, sizeof word);
  return word;
}

}  // namespace

Program build_program(const std::vector<Architecture>& architectures, const Verdict& unknown) {
  Program program = {load(offsetof(seccomp_data, arch))};
  for (const Architecture& architecture : architectures) {
    Program part = {load(offsetof(seccomp_data, nr))};
    append(part, search_code(intervals_of(architecture.calls, unknown)));
    program.push_back(jump(BPF_JEQ, architecture.audit_number, 1, 0));
    program.push_back(statement(BPF_JMP | BPF_JA, static_cast<uint32_t>(part.size())));
    append(program, part);
  }
  program.push_back(answer(unknown.action));
  if (program.size() > BPF_MAXINSNS) throw std::logic_error("the filter is longer than the kernel takes");
  return program;
}

uint32_t run_program(const Program& program, const seccomp_data& call) {
  uint32_t accumulator = 0;
  for (size_t at = 0; at < program.size(); ++at) {
    const sock_filter& instruction = program[at];
    switch (instruction.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        accumulator = word_at(call, instruction.k);
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += accumulator == instruction.k ? instruction.jt : instruction.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        at += accumulator >= instruction.k ? instruction.jt : instruction.jf;
        break;
      case BPF_JMP | BPF_JA:
        at += instruction.k;
        break;
      case BPF_RET | BPF_K:
        return instruction.k;
      default:
        throw std::logic_error("an unexpected BPF instruction");
    }
  }
  throw std::logic_error("the program runs past its end");
}

}  // namespace holm::seccomp_compile
