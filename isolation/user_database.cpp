#include "isolation/user_database.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace holm::isolation {
namespace {

constexpr size_t kMaxLines = 65536;

struct PasswdLine {
  std::string_view name, home, shell;
  uint32_t uid = 0, gid = 0;
};

struct GroupLine {
  std::string_view name, members;
  uint32_t gid = 0;
};

bool is_control(char letter) {
  const auto code = static_cast<unsigned char>(letter);
  return code < 0x20 || code == 0x7f;
}

bool has_control(std::string_view text) { return std::ranges::any_of(text, is_control); }

// What may be a name: nothing that looks like a number (a sign, a digit or a blank in front) and nothing that
// breaks a line.
bool is_name(std::string_view text) {
  constexpr std::string_view kNotFirst = "0123456789+-~ ";
  return !text.empty() && text.size() <= 256 && !kNotFirst.contains(text.front()) && !has_control(text) &&
         text.find_first_of(":,/") == text.npos;
}

// A decimal number of 32 bits in the one way to write it.
std::optional<uint32_t> parse_id(std::string_view text) {
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  const std::optional<uint64_t> number = parse_unsigned(text);
  return number && *number <= UINT32_MAX ? std::optional(static_cast<uint32_t>(*number)) : std::nullopt;
}

// Exactly `Count` fields between colons; nothing where there are more or fewer.
template <size_t Count>
std::optional<std::array<std::string_view, Count>> fields_of(std::string_view line) {
  std::array<std::string_view, Count> fields;
  for (size_t i = 0; i < Count; ++i) {
    const size_t end = line.find(':');
    if ((end == line.npos) != (i + 1 == Count)) return std::nullopt;
    fields[i] = line.substr(0, end);
    line.remove_prefix(i + 1 == Count ? line.size() : end + 1);
  }
  return fields;
}

std::optional<PasswdLine> parse_passwd_line(std::string_view line) {
  const auto fields = fields_of<7>(line);  // name:password:uid:gid:comment:home:shell
  if (!fields || has_control(line)) return std::nullopt;
  const auto uid = parse_id((*fields)[2]), gid = parse_id((*fields)[3]);
  if (!uid || !gid) return std::nullopt;
  return PasswdLine{(*fields)[0], (*fields)[5], (*fields)[6], *uid, *gid};
}

std::optional<GroupLine> parse_group_line(std::string_view line) {
  const auto fields = fields_of<4>(line);  // name:password:gid:member,member
  if (!fields || has_control(line)) return std::nullopt;
  const auto gid = parse_id((*fields)[2]);
  if (!gid) return std::nullopt;
  return GroupLine{(*fields)[0], (*fields)[3], *gid};
}

// Calls `visit` with each well-formed line until it answers true.
template <class Parse, class Visit>
void for_each_line(std::string_view text, Parse parse, Visit visit) {
  for (size_t count = 0; count < kMaxLines && !text.empty(); ++count) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (const auto line = parse(text.substr(0, end)); line && visit(*line)) return;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

template <class Line, class Parse, class Match>
std::optional<Line> first_line(std::string_view text, Parse parse, Match match) {
  std::optional<Line> found;
  for_each_line(text, parse, [&](const Line& line) {
    if (!match(line)) return false;
    found = line;
    return true;
  });
  return found;
}

bool lists_member(std::string_view members, std::string_view name) {
  while (!members.empty()) {
    const size_t end = std::min(members.find(','), members.size());
    if (members.substr(0, end) == name) return true;
    members.remove_prefix(std::min(end + 1, members.size()));
  }
  return false;
}

uint32_t checked_id(uint32_t id, std::string_view kind, const std::string& wanted) {
  if (id <= kHighestContainerId) return id;
  throw Error(fmt::format("{} '{}' has the id {} inside the container, which has 0..{}", kind,
                          printable(wanted), id, kHighestContainerId));
}

// The number that `text` is, if it is one. Refuses what is neither a number nor a name.
std::optional<uint32_t> number_or_name(std::string_view text, std::string_view kind) {
  const std::optional<uint32_t> number = parse_id(text);
  if (number ? *number <= kHighestContainerId : is_name(text)) return number;
  throw Error(fmt::format("{} '{}' is neither a name nor a number from 0 to {}", kind, printable(text),
                          kHighestContainerId));
}

Error no_such(std::string_view kind, std::string_view name, std::string_view file) {
  return Error(fmt::format("no {} '{}' inside the container", kind, printable(name)))
      .hint(fmt::format("its {} does not list it; a number works without", file));
}

std::string absolute_or(std::string_view path, const char* fallback) {
  return path.starts_with('/') ? std::string(path) : std::string(fallback);
}

ContainerUser find_in_passwd(const std::string& text, std::string_view passwd) {
  const std::optional<uint32_t> number = number_or_name(text, "user");
  const auto line = first_line<PasswdLine>(passwd, parse_passwd_line, [&](const PasswdLine& candidate) {
    return number ? candidate.uid == *number : candidate.name == text;
  });
  ContainerUser user;
  if (line) {
    user.uid = checked_id(line->uid, "user", text);
    user.gid = checked_id(line->gid, "primary group of user", text);
    if (is_name(line->name)) user.name = line->name;
    user.home = absolute_or(line->home, "/");
    user.shell = absolute_or(line->shell, "/bin/sh");
  } else if (number) {
    user.uid = user.gid = *number;
  } else if (text == "root") {
    user.name = text;
  } else {
    throw no_such("user", text, "/etc/passwd");
  }
  return user;
}

gid_t find_in_group(const std::string& text, std::string_view group) {
  if (const std::optional<uint32_t> number = number_or_name(text, "group")) return *number;
  const auto line = first_line<GroupLine>(group, parse_group_line,
                                          [&](const GroupLine& candidate) { return candidate.name == text; });
  if (line) return checked_id(line->gid, "group", text);
  if (text == "root") return 0;
  throw no_such("group", text, "/etc/group");
}

// A group above 65535 has no id on the host and is left out: the container's root cannot lock a user out by
// listing him there.
std::vector<gid_t> groups_that_list(const std::string& name, std::string_view group) {
  std::vector<gid_t> groups;
  if (name.empty()) return groups;
  for_each_line(group, parse_group_line, [&](const GroupLine& line) {
    if (line.gid <= kHighestContainerId && lists_member(line.members, name)) groups.push_back(line.gid);
    return false;
  });
  return groups;
}

}  // namespace

ContainerUser find_user(const std::string& wanted, std::string_view passwd, std::string_view group) {
  const size_t colon = wanted.find(':');
  ContainerUser user = find_in_passwd(wanted.substr(0, colon), passwd);
  if (colon != wanted.npos) {
    user.gid = find_in_group(wanted.substr(colon + 1), group);
  } else {
    user.groups = groups_that_list(user.name, group);
  }
  // The primary group too, as initgroups(3) has it: a program that changes its primary group by a
  // set-group-id file must not lose what its user's group is denied (CVE-2022-36109).
  user.groups.push_back(user.gid);
  std::ranges::sort(user.groups);
  user.groups.erase(std::unique(user.groups.begin(), user.groups.end()), user.groups.end());
  return user;
}

}  // namespace holm::isolation
