#include "cli/inspect_checkpoint.h"

#include <fmt/core.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "base/unit.h"
#include "checkpoint/store.h"
#include "cli/table.h"

namespace holm::cli {
namespace {

std::string time_text(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts = {};
  char text[32];
  if (!::localtime_r(&time, &parts) || std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0)
    return "?";
  return text;
}

uint64_t size_of(const checkpoint::Manifest& manifest) {
  uint64_t total = 0;
  for (const auto& part : manifest.parts) total += part.size;
  return total;
}

const char* files_text(checkpoint::Files files) {
  switch (files) {
    case checkpoint::Files::in_place:
      return "in the container's directory";
    case checkpoint::Files::archived:
      return "in the checkpoint";
    case checkpoint::Files::shared:
      return "in the directory that is its root";
  }
  return "?";
}

}  // namespace

void print_manifest(const Globals& globals, const checkpoint::Manifest& manifest) {
  if (globals.json) return print_output(checkpoint::encode_manifest(manifest));
  std::string text;
  const auto line = [&](std::string_view key, const std::string& value) {
    text += fmt::format("{:<11}{}\n", std::string(key) + ":", printable(value));
  };
  line("container", manifest.name);
  line("saved", time_text(manifest.saved_at) + (manifest.was_paused ? " (paused)" : ""));
  line("format", fmt::format("{} (Holm {})", manifest.format, manifest.holm));
  line("host", fmt::format("Linux {}, {}, {}, CRIU {}", manifest.host.kernel, manifest.host.machine,
                           manifest.host.cpu, manifest.host.criu));
  line("size",
       fmt::format("{} in {} parts", describe_bytes(Bytes{size_of(manifest)}), manifest.parts.size()));
  line("files", files_text(manifest.files));
  for (const auto& link : manifest.links)
    line("interface", fmt::format("{} {} {}", link.name, link.mac, join(link.addresses, " ")));
  size_t groups = 0;
  for (const auto& hierarchy : manifest.groups) groups += hierarchy.groups.size();
  line("cgroups", std::to_string(groups));
  std::vector<std::vector<std::string>> rows;
  for (const auto& process : manifest.processes)
    rows.push_back({std::to_string(process.pid), std::to_string(process.parent),
                    std::to_string(process.threads), format_bytes(Bytes{process.memory}),
                    format_bytes(Bytes{process.mapped}), std::to_string(process.files),
                    std::to_string(process.sockets), process.command});
  if (!rows.empty())
    text += "\n" + format_table(
                       {"PID", "PARENT", "THREADS", "MEMORY", "MAPPED", "FILES", "SOCKETS", "COMMAND"}, rows);
  print_output(text);
}

void print_losses(const std::string& container, const std::vector<checkpoint::Obstacle>& losses) {
  for (const auto& loss : losses)
    print_warning(
        fmt::format("container '{}' is saved, but not all of it: {}", container, checkpoint::describe(loss)));
}

void print_checkpoints(const Globals& globals, const runtime::Paths& paths, const std::string& container) {
  nlohmann::json all = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows;
  for (const std::string& tag : checkpoint::list_tags(paths, container)) {
    const std::string directory = checkpoint::tag_directory(paths, container, tag);
    try {
      const auto manifest = checkpoint::read_manifest(directory);
      rows.push_back({tag, time_text(manifest.saved_at), format_bytes(Bytes{size_of(manifest)}),
                      std::to_string(manifest.processes.size()), files_text(manifest.files)});
      all.push_back({{"tag", tag},
                     {"saved_at", manifest.saved_at},
                     {"bytes", size_of(manifest)},
                     {"processes", manifest.processes.size()}});
    } catch (const Error& error) {  // one that is damaged does not hide the others
      rows.push_back({tag, "-", "-", "-", error.message()});
      all.push_back({{"tag", tag}, {"problem", error.message()}});
    }
  }
  print_output(globals.json ? all.dump(1) + "\n"
                            : format_table({"TAG", "SAVED", "SIZE", "PROCESSES", "FILES"}, rows));
}

}  // namespace holm::cli
