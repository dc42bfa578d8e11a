// The validated, typed description that a container is built from. Config files (and later OCI bundles)
// become one; launch builds from nothing else.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "isolation/security_spec.h"
#include "netsetup/nic_spec.h"
#include "quotas/limits.h"

namespace holm::runtime {

enum class RootKind { template_overlay, directory };

struct RootSpec {
  RootKind kind = RootKind::template_overlay;
  std::string template_name;  // template_overlay
  std::string directory;      // directory: absolute path, used as it is
};

// What the payload is: one program that ends, or a whole system with an init of its own.
enum class PayloadKind { command, init };

struct PayloadSpec {
  PayloadKind kind = PayloadKind::init;
  std::vector<std::string> arguments = {"/sbin/init"};
  std::string user = "root";  // "name", "name:group", "uid", "uid:gid", resolved inside the container
  std::string workdir = "/";
  std::map<std::string, std::string> environment;  // added to PATH, HOME, TERM, container=holm
};

enum class OnCrash { restart, stop, destroy };
enum class OnReboot { restart, stop, destroy };
enum class OnHostShutdown { stop, checkpoint };

struct MountSpec {
  std::string source;
  std::string target;
  bool readonly = false;
};

struct ContainerSpec {
  std::string name;
  RootSpec root;
  std::string hostname;
  PayloadSpec payload;
  bool autostart = false;
  int order = 0;
  OnCrash on_crash = OnCrash::stop;
  OnReboot on_reboot = OnReboot::restart;
  OnHostShutdown on_host_shutdown = OnHostShutdown::stop;
  quotas::Limits limits;
  std::vector<netsetup::NicSpec> networks;  // never empty: none is NicMode::none
  std::vector<MountSpec> mounts;
  isolation::SecuritySpec security;
  isolation::ResourceLimits resource_limits;
};

}  // namespace holm::runtime
