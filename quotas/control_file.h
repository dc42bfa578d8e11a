// Control files of cgroup hierarchies: small texts that the kernel may refuse, round or ignore. Not for other
// folders.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/unit.h"

namespace holm::quotas {

// The text without the final newline. Nothing where there is no such file.
std::optional<std::string> read_control(const std::string& path);
// The number in a file. Nothing where there is no such file or it holds "max", "-1" or another word.
std::optional<uint64_t> read_number(const std::string& path);
// As read_number, for memory limits: nothing also for the number that v1 shows for "unlimited".
std::optional<Bytes> read_bytes(const std::string& path);
// The same for a text.
std::optional<Bytes> parse_bytes_of_limit(std::string_view text);
// The number behind `key` in a text of "key number" lines; nothing where there is none.
std::optional<uint64_t> find_keyed(std::string_view text, std::string_view key);
// The same in a file; nothing where the file or the key is missing.
std::optional<uint64_t> read_keyed(const std::string& path, std::string_view key);

// Writes a value and reads it back. Throws where the file then holds another text.
void write_checked(const std::string& path, std::string_view value);
// The same for a memory limit, where the kernel rounds down to whole pages; `unlimited` ("max" or "-1") for
// no limit.
void write_bytes_checked(const std::string& path, std::optional<Bytes> value, std::string_view unlimited);

}  // namespace holm::quotas
