// bpf(2) by hand: the program is a page long, a compiler and a loader for it would be larger than Holm.
#include "quotas/device_filter.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "quotas/device_lines.h"

namespace holm::quotas {
namespace {

constexpr const char* kProgramName = "holm_devices";
constexpr size_t kMaxRules = 500;  // the kernel takes 4096 instructions everywhere; a rule has at most 8
constexpr unsigned kMaxNumber = 1u << 20;  // device numbers have 12 and 20 bits

enum Register : uint8_t {
  kResult = 0,
  kContext = 1,
  kType = 2,
  kAccess = 3,
  kMajor = 4,
  kMinor = 5,
  kScratch = 6
};

BpfInstruction instruction(int code, Register target, Register source = kResult, int offset = 0,
                           int64_t value = 0) {
  bpf_insn raw = {};
  raw.code = static_cast<uint8_t>(code);
  raw.dst_reg = target & 0xf;
  raw.src_reg = source & 0xf;
  raw.off = static_cast<int16_t>(offset);
  raw.imm = static_cast<int32_t>(value);
  return std::bit_cast<BpfInstruction>(raw);
}

BpfInstruction load(Register target, size_t offset) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, target, kContext, static_cast<int>(offset));
}
BpfInstruction set(Register target, int64_t value) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_K, target, kResult, 0, value);
}
BpfInstruction copy(Register target, Register source) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_X, target, source);
}
BpfInstruction compute(int operation, Register target, int64_t value) {
  return instruction(BPF_ALU64 | operation | BPF_K, target, kResult, 0, value);
}
BpfInstruction skip_unless_equal(Register a, int64_t value, size_t count) {
  return instruction(BPF_JMP | BPF_JNE | BPF_K, a, kResult, static_cast<int>(count), value);
}
BpfInstruction leave() { return instruction(BPF_JMP | BPF_EXIT, kResult); }

int64_t access_bits(const std::string& access) {
  int64_t bits = 0;
  if (access.find('r') != std::string::npos) bits |= BPF_DEVCG_ACC_READ;
  if (access.find('w') != std::string::npos) bits |= BPF_DEVCG_ACC_WRITE;
  if (access.find('m') != std::string::npos) bits |= BPF_DEVCG_ACC_MKNOD;
  return bits;
}

void append_rule(std::vector<BpfInstruction>& program, const DeviceRule& rule) {
  const std::string line = device_line(rule);  // throws where it is not valid
  if (rule.major.value_or(0) >= kMaxNumber || rule.minor.value_or(0) >= kMaxNumber)
    throw Error(fmt::format("allow the device '{}': no device has such a number", line));
  constexpr int64_t kAllAccess = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
  const int64_t denied = kAllAccess & ~access_bits(rule.access);

  // Each test that fails skips the rest of the rule: the later tests and "allow", two instructions.
  size_t left = 2 + (rule.major ? 1 : 0) + (rule.minor ? 1 : 0) + (denied ? 3 : 0);
  program.push_back(
      skip_unless_equal(kType, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, left));
  if (rule.major) program.push_back(skip_unless_equal(kMajor, *rule.major, --left));
  if (rule.minor) program.push_back(skip_unless_equal(kMinor, *rule.minor, --left));
  if (denied) {
    program.push_back(copy(kScratch, kAccess));
    program.push_back(compute(BPF_AND, kScratch, denied));
    program.push_back(skip_unless_equal(kScratch, 0, 2));
  }
  program.push_back(set(kResult, 1));
  program.push_back(leave());
}

long bpf(int command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

uint64_t address_of(const void* data) { return reinterpret_cast<uint64_t>(data); }

UniqueFd load_program(const std::vector<BpfInstruction>& program) {
  bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.expected_attach_type = BPF_CGROUP_DEVICE;
  attributes.insn_cnt = static_cast<uint32_t>(program.size());
  attributes.insns = address_of(program.data());
  attributes.license = address_of("Apache-2.0");
  std::strncpy(attributes.prog_name, kProgramName, sizeof attributes.prog_name - 1);
  UniqueFd fd(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
  if (!fd)
    throw Error::system("load the device filter into the kernel")
        .hint(
            "cgroup v2 restricts devices by eBPF: the kernel needs CONFIG_CGROUP_BPF, and Holm CAP_BPF and "
            "CAP_NET_ADMIN or CAP_SYS_ADMIN");
  return fd;
}

struct ProgramFact {
  uint32_t id = 0;
  bool is_ours = false;
};

ProgramFact describe_program(int program) {
  bpf_prog_info info = {};
  bpf_attr attributes = {};
  attributes.info.bpf_fd = static_cast<uint32_t>(program);
  attributes.info.info_len = sizeof info;
  attributes.info.info = address_of(&info);
  if (bpf(BPF_OBJ_GET_INFO_BY_FD, attributes) != 0) throw Error::system("describe an eBPF program");
  return {info.id, std::strncmp(info.name, kProgramName, sizeof info.name) == 0};
}

std::vector<uint32_t> attached_programs(int group, const std::string& directory) {
  std::vector<uint32_t> ids(64);
  for (;;) {
    bpf_attr attributes = {};
    attributes.query.target_fd = static_cast<uint32_t>(group);
    attributes.query.attach_type = BPF_CGROUP_DEVICE;
    attributes.query.prog_ids = address_of(ids.data());
    attributes.query.prog_cnt = static_cast<uint32_t>(ids.size());
    const long result = bpf(BPF_PROG_QUERY, attributes);
    const int error_number = errno;
    const size_t count = attributes.query.prog_cnt;
    if (result != 0 && error_number != ENOSPC)
      throw Error::system(error_number, fmt::format("read back the device filter of cgroup '{}'", directory));
    if (result == 0) {
      ids.resize(count);
      return ids;
    }
    ids.resize(std::max(count, ids.size() * 2));
  }
}

void detach_if_ours(int group, uint32_t id, const std::string& directory) {
  bpf_attr by_id = {};
  by_id.prog_id = id;
  const UniqueFd program(static_cast<int>(bpf(BPF_PROG_GET_FD_BY_ID, by_id)));
  if (!program || !describe_program(program.get()).is_ours) return;
  bpf_attr attributes = {};
  attributes.target_fd = static_cast<uint32_t>(group);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  if (bpf(BPF_PROG_DETACH, attributes) != 0)
    throw Error::system(fmt::format("detach the earlier device filter of cgroup '{}'", directory));
}

}  // namespace

std::vector<BpfInstruction> build_device_filter(const std::vector<DeviceRule>& rules) {
  if (rules.size() > kMaxRules)
    throw Error(fmt::format("allow {} devices: at most {}", rules.size(), kMaxRules));
  std::vector<BpfInstruction> program = {
      load(kAccess,
           offsetof(bpf_cgroup_dev_ctx, access_type)),  // access in the upper half, type in the lower
      copy(kType, kAccess),
      compute(BPF_AND, kType, 0xffff),
      compute(BPF_RSH, kAccess, 16),
      load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  for (const DeviceRule& rule : rules) append_rule(program, rule);
  program.push_back(set(kResult, 0));
  program.push_back(leave());
  return program;
}

void attach_device_filter(const std::string& directory, const std::vector<DeviceRule>& rules) {
  const UniqueFd group = sys::open(directory, O_RDONLY | O_DIRECTORY);
  const UniqueFd program = load_program(build_device_filter(rules));
  const uint32_t id = describe_program(program.get()).id;
  const std::vector<uint32_t> earlier = attached_programs(group.get(), directory);

  bpf_attr attributes = {};
  attributes.target_fd = static_cast<uint32_t>(group.get());
  attributes.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, attributes) != 0)
    throw Error::system(fmt::format("attach the device filter to cgroup '{}'", directory));
  // Only now, so that there is no moment without a filter.
  for (const uint32_t other : earlier) detach_if_ours(group.get(), other, directory);

  const std::vector<uint32_t> attached = attached_programs(group.get(), directory);
  if (std::find(attached.begin(), attached.end(), id) == attached.end())
    throw Error(
        fmt::format("attach the device filter to cgroup '{}': the kernel does not list it", directory));
}

}  // namespace holm::quotas
