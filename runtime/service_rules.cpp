#include "runtime/service_rules.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "isolation/mount_api.h"
#include "isolation/root_mounts.h"

namespace holm::runtime {
namespace {

struct Rule {
  unsigned since;  // systemd's version
  const char* setting;
  const char* why;
};

// Left out is what CRIU can dump: mount namespaces (PrivateTmp, ProtectSystem and their like) and filters.
constexpr Rule kRules[] = {
    {0, "ProtectHostname=no", "makes a UTS namespace"},
    {0, "PrivateUsers=no", "makes a user namespace"},
    {248, "PrivateIPC=no", "makes an IPC namespace"},
    {257, "PrivatePIDs=no", "makes a pid namespace"},
    {0, "PrivateNetwork=no", "makes a network namespace, with a sysfs of its own"},
    {247, "LoadCredential=", "credentials are on a ramfs"},
    {247, "SetCredential=", "as above"},
    {250, "LoadCredentialEncrypted=", "as above"},
    {250, "SetCredentialEncrypted=", "as above"},
    {254, "ImportCredential=", "as above"},
};

constexpr const char* kLibraryBegin = "libsystemd-shared-";

std::optional<unsigned> installed_version(int root) {
  for (const char* directory : {"usr/lib/systemd", "lib/systemd", "usr/lib/x86_64-linux-gnu/systemd",
                                "usr/lib/aarch64-linux-gnu/systemd"}) {
    std::optional<unsigned> found;
    ignore_errors([&] {  // it has no such directory
      const UniqueFd fd = sys::open_confined(root, directory, O_RDONLY | O_DIRECTORY, sys::Confine::in_root);
      for (const std::string& name : list_directory(fmt::format("/proc/self/fd/{}", fd.get())))
        if (const auto version = systemd_version_in(name)) found = version;
    });
    if (found) return found;
  }
  return std::nullopt;
}

UniqueFd make_directory_in(int directory, const std::string& name) {
  sys::make_directory_at(directory, name, 0755);
  return sys::open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

}  // namespace

std::string service_rules(unsigned version) {
  std::string text =
      "# Written by Holm at each start: security.migratable keeps services in a form that can be "
      "checkpointed.\n[Service]\n";
  for (const Rule& rule : kRules)
    if (version >= rule.since) text += fmt::format("{}\n", rule.setting);
  return text;
}

std::optional<unsigned> systemd_version_in(const std::string& library) {
  if (!library.starts_with(kLibraryBegin) || !library.ends_with(".so")) return std::nullopt;
  const std::string rest = library.substr(std::string_view(kLibraryBegin).size());
  const auto version = parse_unsigned(rest.substr(0, rest.find_first_not_of("0123456789")));
  if (!version || *version > 100000) return std::nullopt;
  return static_cast<unsigned>(*version);
}

void give_service_rules(int root) {
  const auto version = installed_version(root);
  if (!version) return;
  const UniqueFd target = isolation::open_mount_point(root, "run");
  const UniqueFd run =
      isolation::make_file_system("tmpfs", {{"mode", "0755"}}, isolation::kNoSuid | isolation::kNoDev, "run");
  isolation::attach_mount(run.get(), target.get(), "/run");
  const UniqueFd system = make_directory_in(make_directory_in(run.get(), "systemd").get(), "system");
  const UniqueFd services = make_directory_in(system.get(), "service.d");
  const UniqueFd file =
      sys::open_at(services.get(), "holm.conf", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
  sys::write_all(file.get(), service_rules(*version), "service.d/holm.conf");
}

}  // namespace holm::runtime
