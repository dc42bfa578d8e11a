#include <doctest/doctest.h>
#include <linux/bpf.h>

#include <bit>
#include <cstring>

#include "quotas/device_filter.h"
#include "quotas/device_lines.h"
#include "tests/unit/quotas/message_of.h"

using namespace holm;
using namespace holm::quotas;

namespace {

// What the kernel would decide: runs the few instructions that the filter is made of. -1 where the program is
// broken.
int run(const std::vector<BpfInstruction>& program, char type, char access, unsigned major, unsigned minor) {
  const uint32_t type_bits = type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
  const uint32_t access_bits = access == 'r'   ? BPF_DEVCG_ACC_READ
                               : access == 'w' ? BPF_DEVCG_ACC_WRITE
                                               : BPF_DEVCG_ACC_MKNOD;
  const bpf_cgroup_dev_ctx context = {access_bits << 16 | type_bits, major, minor};
  uint64_t registers[11] = {};
  for (size_t at = 0; at < program.size(); ++at) {
    const auto raw = std::bit_cast<bpf_insn>(program[at]);
    uint64_t& target = registers[raw.dst_reg];
    const auto value = static_cast<uint64_t>(int64_t{raw.imm});
    switch (raw.code) {
      case BPF_LDX | BPF_MEM | BPF_W: {
        uint32_t word = 0;
        std::memcpy(&word, reinterpret_cast<const char*>(&context) + raw.off, sizeof word);
        target = word;
        break;
      }
      case BPF_ALU64 | BPF_MOV | BPF_K:
        target = value;
        break;
      case BPF_ALU64 | BPF_MOV | BPF_X:
        target = registers[raw.src_reg];
        break;
      case BPF_ALU64 | BPF_AND | BPF_K:
        target &= value;
        break;
      case BPF_ALU64 | BPF_RSH | BPF_K:
        target >>= value;
        break;
      case BPF_JMP | BPF_JNE | BPF_K:
        if (target != value) at += static_cast<size_t>(raw.off);
        break;
      case BPF_JMP | BPF_EXIT:
        return static_cast<int>(registers[0]);
      default:
        return -1;
    }
  }
  return -1;
}

std::string refusal(const std::vector<DeviceRule>& rules) {
  return test::message_of([&] { build_device_filter(rules); });
}

}  // namespace

TEST_CASE("an empty allow-list denies every device") {
  CHECK(run(build_device_filter({}), 'c', 'r', 1, 3) == 0);
  CHECK(run(build_device_filter({}), 'b', 'm', 8, 0) == 0);
}

TEST_CASE("the default allow-list has the harmless devices and no other") {
  const auto program = build_device_filter(default_device_rules());
  for (const unsigned minor : {3u, 5u, 7u, 8u, 9u}) CHECK(run(program, 'c', 'w', 1, minor) == 1);
  CHECK(run(program, 'c', 'r', 5, 0) == 1);
  CHECK(run(program, 'c', 'r', 5, 2) == 1);
  CHECK(run(program, 'c', 'w', 136, 0) == 1);
  CHECK(run(program, 'c', 'w', 136, 1048575) == 1);
  CHECK(run(program, 'c', 'r', 1, 1) == 0);     // mem
  CHECK(run(program, 'c', 'r', 1, 2) == 0);     // kmem
  CHECK(run(program, 'c', 'r', 1, 11) == 0);    // kmsg
  CHECK(run(program, 'c', 'r', 5, 1) == 0);     // the host's console
  CHECK(run(program, 'c', 'r', 10, 200) == 0);  // tun
  CHECK(run(program, 'b', 'r', 1, 3) == 0);     // ram3, not null
  CHECK(run(program, 'b', 'm', 8, 0) == 0);     // sda
}

TEST_CASE("a rule allows its accesses only, and a later rule may add others") {
  const std::vector<DeviceRule> rules = {
      {'c', 10, 229, "r"}, {'c', 10, 229, "w"}, {'b', 7, std::nullopt, "rw"}};
  const auto program = build_device_filter(rules);
  CHECK(run(program, 'c', 'r', 10, 229) == 1);
  CHECK(run(program, 'c', 'w', 10, 229) == 1);
  CHECK(run(program, 'c', 'm', 10, 229) == 0);
  CHECK(run(program, 'b', 'w', 7, 12) == 1);
  CHECK(run(program, 'b', 'm', 7, 12) == 0);
  CHECK(run(program, 'b', 'r', 8, 12) == 0);
}

TEST_CASE("a rule without numbers covers all devices of its type") {
  const auto program = build_device_filter({{'b', std::nullopt, std::nullopt, "rwm"}});
  CHECK(run(program, 'b', 'm', 8, 0) == 1);
  CHECK(run(program, 'c', 'r', 8, 0) == 0);
}

TEST_CASE("rules that mean nothing are refused") {
  CHECK(refusal({{'x', 1, 3, "r"}}) == "allow the device 'x 1:3 r': the type must be 'c' or 'b'");
  CHECK(refusal({{'c', 1, 3, ""}}) == "allow the device 'c 1:3 ': the access must be of 'r', 'w' and 'm'");
  CHECK(refusal({{'c', 1, 3, "rx"}}) ==
        "allow the device 'c 1:3 rx': the access must be of 'r', 'w' and 'm'");
  CHECK(refusal({{'c', 4294967295u, 3, "r"}}) ==
        "allow the device 'c 4294967295:3 r': no device has such a number");
  CHECK(refusal(std::vector<DeviceRule>(501)) == "allow 501 devices: at most 500");
}

TEST_CASE("rules and the kernel's list compare whatever their order and grouping") {
  const std::vector<DeviceRule> rules = {{'c', 1, 3, "w"}, {'c', 136, std::nullopt, "rwm"}, {'c', 1, 3, "r"}};
  CHECK(merge_device_rules(rules) == parse_device_lines("c 136:* rwm\nc 1:3 rw\n"));
  CHECK(merge_device_rules(rules) != parse_device_lines("c 136:* rwm\nc 1:3 rwm\n"));
  CHECK(merge_device_rules({}) == parse_device_lines(""));
  CHECK(merge_device_rules({}) != parse_device_lines("nonsense\n"));
}
