// Small text helpers: strict numbers, splitting, nearest names.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace holm {

std::string_view trim(std::string_view text);
// "a,b,,c" by ',' -> {"a","b","","c"}; an empty text gives no parts.
std::vector<std::string> split(std::string_view text, char separator);
// Words between runs of blanks, tabs and newlines.
std::vector<std::string> split_words(std::string_view text);
std::string join(std::span<const std::string> parts, std::string_view separator);

// The whole text as a decimal number without sign, blanks or leading '+'; nothing where it is not one or
// overflows.
std::optional<uint64_t> parse_unsigned(std::string_view text);
std::optional<int64_t> parse_signed(std::string_view text);

// The candidate that a person most likely meant by `word`; nothing where none is near.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string_view> candidates);

// A DNS label: 1..63 of a-z A-Z 0-9 '-', not at the ends. Container and template names are that, so that they
// are safe as file names, host names and parts of kernel object names.
bool is_dns_label(std::string_view text);

// Text from a container made safe for a terminal: control characters become \xNN.
std::string printable(std::string_view text);
// The same, and not endless: its first 80 bytes.
std::string shortened(std::string_view text);
std::string quoted(std::string_view text);  // in double quotes

}  // namespace holm
