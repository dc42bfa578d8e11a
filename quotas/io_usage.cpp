#include "quotas/io_usage.h"

#include "base/text.h"
#include "quotas/control_file.h"

namespace holm::quotas {
namespace {

using Count = std::optional<uint64_t>;

void add(Count& sum, std::string_view number) {
  if (const auto value = parse_unsigned(number)) sum = sum.value_or(0) + *value;
}

// "8:0 Read 4096"; "Total 8192" and the sums of synchronous and other operations count the same again.
void add_lines_v1(std::string_view text, Count& read, Count& write) {
  for (const std::string& line : split(text, '\n')) {
    const std::vector<std::string> words = split_words(line);
    if (words.size() != 3) continue;
    if (words[1] == "Read") add(read, words[2]);
    if (words[1] == "Write") add(write, words[2]);
  }
}

// With nested groups where the kernel has such a sum.
std::optional<std::string> read_blkio(const Group& group, const std::string& name) {
  if (auto text = read_control(group.file(name + "_recursive"))) return text;
  return read_control(group.file(name));
}

}  // namespace

void add_io_stat(std::string_view io_stat, Usage& usage) {
  Count read_bytes = 0, write_bytes = 0, reads = 0, writes = 0;
  for (const std::string& word : split_words(io_stat)) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) continue;
    const std::string_view key = std::string_view(word).substr(0, equals);
    const std::string_view number = std::string_view(word).substr(equals + 1);
    if (key == "rbytes") add(read_bytes, number);
    if (key == "wbytes") add(write_bytes, number);
    if (key == "rios") add(reads, number);
    if (key == "wios") add(writes, number);
  }
  usage.io_read_bytes = read_bytes;
  usage.io_write_bytes = write_bytes;
  usage.io_reads = reads;
  usage.io_writes = writes;
}

void add_blkio(std::string_view service_bytes, std::string_view serviced, Usage& usage) {
  Count read_bytes = 0, write_bytes = 0, reads = 0, writes = 0;
  add_lines_v1(service_bytes, read_bytes, write_bytes);
  add_lines_v1(serviced, reads, writes);
  usage.io_read_bytes = read_bytes;
  usage.io_write_bytes = write_bytes;
  usage.io_reads = reads;
  usage.io_writes = writes;
}

void add_io_usage_v1(const Group& group, Usage& usage) {
  const auto bytes = read_blkio(group, "blkio.throttle.io_service_bytes");
  const auto operations = read_blkio(group, "blkio.throttle.io_serviced");
  if (bytes && operations) add_blkio(*bytes, *operations, usage);
}

void add_io_usage_v2(const Group& group, Usage& usage) {
  if (const auto text = read_control(group.file("io.stat"))) add_io_stat(*text, usage);
}

}  // namespace holm::quotas
