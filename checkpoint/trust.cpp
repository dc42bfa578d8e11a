#include "checkpoint/trust.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "isolation/capabilities.h"

namespace holm::checkpoint {
namespace {

using netsetup::NicMode;

std::vector<std::string> wishes_of(const runtime::ContainerSpec& spec) {
  std::vector<std::string> wishes;
  if (spec.root.kind == runtime::RootKind::directory)
    wishes.push_back(fmt::format("root = \"{}\"", shortened(spec.root.directory)));
  for (const auto& mount : spec.mounts)
    wishes.push_back(fmt::format("[[mount]] of the host's '{}'", shortened(mount.source)));
  if (!spec.security.user_namespace) wishes.emplace_back("user_namespace = false");
  if (spec.security.allow_io_uring) wishes.emplace_back("io_uring");
  for (const auto& nic : spec.networks)
    if (nic.mode == NicMode::host) wishes.emplace_back("the host's network");
  const uint64_t more = isolation::bounding_set(spec.security).bits & ~isolation::bounding_set({}).bits;
  if (more != 0) wishes.push_back("capabilities " + isolation::describe_capabilities({more}));
  return wishes;
}

}  // namespace

void require_trustworthy(const runtime::ContainerSpec& spec) {
  const auto wishes = wishes_of(spec);
  if (wishes.empty()) return;
  throw Error(
      fmt::format("its config asks for what a file may not ask for by itself: {}", join(wishes, ", ")))
      .hint(
          "look at the config ('holm checkpoint inspect --config FILE'), create the container from your copy "
          "of it, and "
          "restore the file then");
}

void require_same_shape(const runtime::ContainerSpec& local, const runtime::ContainerSpec& saved) {
  const auto differs = [](std::string_view what) {
    return Error(fmt::format("its config has {} than it was saved with", what))
        .hint("put that part of the config back; 'holm checkpoint inspect --config' shows what it was");
  };
  const auto targets = [](const runtime::ContainerSpec& spec) {
    std::vector<std::string> all;
    for (const auto& mount : spec.mounts) all.push_back(mount.target);
    return all;
  };
  const auto links = [](const runtime::ContainerSpec& spec) {
    std::vector<std::string> all;
    for (const auto& nic : spec.networks)
      all.push_back(fmt::format("{} {}", static_cast<int>(nic.mode), nic.name));
    return all;
  };
  if (targets(local) != targets(saved)) throw differs("other [[mount]] entries");
  if (links(local) != links(saved)) throw differs("other [[network]] entries");
  if (local.root.kind != saved.root.kind || local.root.template_name != saved.root.template_name)
    throw differs("another root");
  if (local.security.user_namespace != saved.security.user_namespace) throw differs("another user_namespace");
  if (local.payload.kind != saved.payload.kind) throw differs("another kind of payload");
}

void require_place_for(const runtime::Installation& installation, const std::string& name,
                       const Manifest& manifest) {
  if (runtime::load_identity(installation.paths, name).uuid == manifest.uuid) return;
  if (list_directory(installation.paths.container(name) + "/upper").empty()) return;
  throw Error("there is another container of that name, which has files of its own")
      .hint("restore it under another name with --name, or destroy that one first");
}

}  // namespace holm::checkpoint
