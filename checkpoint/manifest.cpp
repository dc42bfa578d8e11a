#include "checkpoint/manifest.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "base/error.h"
#include "base/text.h"

namespace holm::checkpoint {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 3> kFilesNames = {"in place", "archived", "shared"};
constexpr size_t kMaxParts = 1'000'000;
constexpr size_t kMaxCounters = 1000;
constexpr uint64_t kMaxCount = uint64_t{1} << 61;

// nlohmann cuts a number that does not fit.
template <class Number>
Number number_from(const json& value, const char* key) {
  const json& member = value.at(key);
  const auto number = member.get<Number>();
  const bool is_cut =
      std::is_unsigned_v<Number> && member.is_number_integer() && !member.is_number_unsigned();
  if (!member.is_number_integer() || is_cut || member != json(number))
    throw Error(fmt::format("'{}' is {}", key, member.dump()));
  return number;
}

// Anything else can be walked over, too.
const json& array_from(const json& value, const char* key) {
  const json& member = value.at(key);
  if (!member.is_array()) throw Error(fmt::format("'{}' is no list", key));
  return member;
}

json to_json(const quotas::SavedHierarchy& hierarchy) {
  json groups = json::array();
  for (const auto& group : hierarchy.groups)
    groups.push_back(
        {{"path", group.path}, {"uid", group.uid}, {"gid", group.gid}, {"values", group.values}});
  return {{"hierarchy", hierarchy.name}, {"groups", groups}};
}

quotas::SavedHierarchy hierarchy_from(const json& value) {
  quotas::SavedHierarchy hierarchy{value.at("hierarchy"), {}};
  for (const json& group : array_from(value, "groups"))
    hierarchy.groups.push_back({group.at("path"), number_from<uid_t>(group, "uid"),
                                number_from<gid_t>(group, "gid"), group.at("values")});
  return hierarchy;
}

json to_json(const SavedProcess& process) {
  return {{"pid", process.pid},         {"parent", process.parent},  {"command", process.command},
          {"threads", process.threads}, {"memory", process.memory},  {"mapped", process.mapped},
          {"files", process.files},     {"sockets", process.sockets}};
}

SavedProcess process_from(const json& value) {
  return {number_from<int64_t>(value, "pid"),
          number_from<int64_t>(value, "parent"),
          value.at("command"),
          number_from<uint64_t>(value, "threads"),
          number_from<uint64_t>(value, "memory"),
          number_from<uint64_t>(value, "mapped"),
          number_from<uint64_t>(value, "files"),
          number_from<uint64_t>(value, "sockets")};
}

json to_json(const quotas::CounterReading& counter) {
  return {
      {"name", counter.name}, {"held", counter.held}, {"peak", counter.peak}, {"failures", counter.failures}};
}

// Names that counters may have, and numbers that leave room for those to come.
quotas::CounterReading counter_from(const json& value) {
  quotas::CounterReading counter{value.at("name"), number_from<uint64_t>(value, "held"),
                                 number_from<uint64_t>(value, "peak"),
                                 number_from<uint64_t>(value, "failures")};
  const bool is_plain = std::ranges::all_of(
      counter.name, [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '-'; });
  if (!is_plain || counter.name.empty() || counter.name.size() > 64)
    throw Error(fmt::format("'{}' is no counter", shortened(counter.name)));
  for (const uint64_t number : {counter.held, counter.peak, counter.failures})
    if (number > kMaxCount) throw Error(fmt::format("the counter '{}' has {}", counter.name, number));
  return counter;
}

// Parts are files of the checkpoint's own directory and of its images', whatever a manifest says.
void check_parts(const std::vector<Part>& parts, DigestKind kind) {
  if (parts.size() > kMaxParts) throw Error(fmt::format("it has more than {} parts", kMaxParts));
  std::set<std::string> seen;
  for (const Part& part : parts) {
    std::string_view name = part.path;
    if (name.starts_with("images/")) {
      name.remove_prefix(7);
      while (name.starts_with("parent/")) name.remove_prefix(7);
    }
    const bool is_plain = std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
             c == '_' || c == '.';
    });
    if (!is_plain || name.empty() || name.front() == '.' || name.size() > 200 || name == "manifest.json" ||
        name == "parent")
      throw Error(fmt::format("'{}' is no name of a part", shortened(part.path)));
    if (!seen.insert(part.path).second) throw Error(fmt::format("part '{}' is there twice", part.path));
    const bool is_digest = part.digest.size() == (kind == DigestKind::sha256 ? 64 : 32) &&
                           part.digest.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!is_digest) throw Error(fmt::format("part '{}' has no digest", part.path));
  }
}

Files files_from(const std::string& name) {
  for (size_t i = 0; i < kFilesNames.size(); ++i)
    if (name == kFilesNames[i]) return static_cast<Files>(i);
  throw Error(fmt::format("'files' is '{}'", shortened(name)));
}

Manifest from_json(const json& value) {
  Manifest manifest;
  manifest.format = number_from<int>(value, "format");
  if (manifest.format > kFormat)
    throw Error(fmt::format("it has format {}, and this Holm reads up to {}", manifest.format, kFormat))
        .hint("restore it with the Holm that made it, or a newer one");
  if (manifest.format < 1) throw Error(fmt::format("it has format {}", manifest.format));
  manifest.holm = value.at("holm");
  manifest.name = value.at("name");
  if (!is_dns_label(manifest.name))
    throw Error(fmt::format("'{}' is no container name", shortened(manifest.name)));
  manifest.uuid = value.at("uuid");
  manifest.config = value.at("config");
  manifest.saved_at = number_from<int64_t>(value, "saved_at");
  manifest.started_at = number_from<int64_t>(value, "started_at");
  manifest.was_paused = value.at("was_paused");
  manifest.first_id = number_from<uint32_t>(value, "first_id");
  manifest.template_made = value.at("template_made");
  manifest.files = files_from(value.at("files"));
  const json& host = value.at("host");
  manifest.host = {host.at("kernel"), host.at("machine"), host.at("criu"), host.at("cpu"),
                   host.at("cpu_flags")};
  manifest.console = value.at("console");
  for (const json& mount : array_from(value, "mounts"))
    manifest.mounts.push_back({mount.at("key"), mount.at("source")});
  for (const json& link : array_from(value, "links"))
    manifest.links.push_back({link.at("name"), link.at("mac"), link.at("addresses")});
  manifest.pipes = value.at("pipes");
  manifest.network_settings = value.at("network_settings");
  for (const json& hierarchy : array_from(value, "groups"))
    manifest.groups.push_back(hierarchy_from(hierarchy));
  for (const json& process : array_from(value, "processes"))
    manifest.processes.push_back(process_from(process));
  for (const json& counter : array_from(value, "counters"))
    manifest.counters.push_back(counter_from(counter));
  if (manifest.counters.size() > kMaxCounters)
    throw Error(fmt::format("it has more than {} counters", kMaxCounters));
  manifest.memory_pages = number_from<uint64_t>(value, "memory_pages");
  const std::string kind = value.at("digest");
  if (kind != "sha256" && kind != "xxh128") throw Error(fmt::format("'digest' is '{}'", shortened(kind)));
  manifest.digest_kind = kind == "sha256" ? DigestKind::sha256 : DigestKind::xxh128;
  for (const json& part : array_from(value, "parts"))
    manifest.parts.push_back({part.at("path"), number_from<uint64_t>(part, "size"), part.at("digest")});
  check_parts(manifest.parts, manifest.digest_kind);
  return manifest;
}

}  // namespace

std::string encode_manifest(const Manifest& manifest) {
  json value = {{"format", manifest.format},
                {"holm", manifest.holm},
                {"name", manifest.name},
                {"uuid", manifest.uuid},
                {"config", manifest.config},
                {"saved_at", manifest.saved_at},
                {"started_at", manifest.started_at},
                {"was_paused", manifest.was_paused},
                {"first_id", manifest.first_id},
                {"template_made", manifest.template_made},
                {"files", kFilesNames[static_cast<size_t>(manifest.files)]},
                {"host",
                 {{"kernel", manifest.host.kernel},
                  {"machine", manifest.host.machine},
                  {"criu", manifest.host.criu},
                  {"cpu", manifest.host.cpu},
                  {"cpu_flags", manifest.host.cpu_flags}}},
                {"digest", manifest.digest_kind == DigestKind::sha256 ? "sha256" : "xxh128"},
                {"console", manifest.console},
                {"pipes", manifest.pipes},
                {"network_settings", manifest.network_settings},
                {"memory_pages", manifest.memory_pages},
                {"mounts", json::array()},
                {"links", json::array()},
                {"groups", json::array()},
                {"processes", json::array()},
                {"counters", json::array()},
                {"parts", json::array()}};
  for (const auto& mount : manifest.mounts)
    value["mounts"].push_back({{"key", mount.key}, {"source", mount.source}});
  for (const auto& link : manifest.links)
    value["links"].push_back({{"name", link.name}, {"mac", link.mac}, {"addresses", link.addresses}});
  for (const auto& hierarchy : manifest.groups) value["groups"].push_back(to_json(hierarchy));
  for (const auto& process : manifest.processes) value["processes"].push_back(to_json(process));
  for (const auto& counter : manifest.counters) value["counters"].push_back(to_json(counter));
  for (const auto& part : manifest.parts)
    value["parts"].push_back({{"path", part.path}, {"size", part.size}, {"digest", part.digest}});
  // Names inside a container need not be UTF-8.
  return value.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

Manifest decode_manifest(std::string_view text) {
  return with_frame("read the checkpoint's manifest", [&] {
    try {
      return from_json(json::parse(text));
    } catch (const json::exception& failure) {
      throw Error(fmt::format("damaged: {}", printable(failure.what())));
    }
  });
}

}  // namespace holm::checkpoint
