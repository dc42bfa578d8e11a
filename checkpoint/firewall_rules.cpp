#include "checkpoint/firewall_rules.h"

#include <fmt/core.h>
#include <sched.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/container_child.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "netsetup/firewall.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxRules = 32 << 20;
constexpr const char* kLoad = "load firewall rules";

void load(const std::string& rules) { netsetup::run_nftables(rules, kLoad); }

// What lists rules never writes: commands, above all such as read other files.
void check_rules(const std::string& rules) {
  for (const std::string& line : split(rules, '\n')) {
    const std::string_view text = trim(line);
    const bool begins_table = line.starts_with("table ") || line.starts_with("}") || line.starts_with("#");
    const bool is_inside = line.starts_with("\t") || text.empty();
    if ((!begins_table && !is_inside) || text.starts_with("include"))
      throw Error(fmt::format("the checkpoint's firewall rules are none: '{}'", shortened(text)));
  }
}

}  // namespace

std::string take_firewall_rules(const std::string& images, const isolation::IdRange& ids_of_container) {
  images::NamespaceIds ids;
  if (!ids.ParseFromString(read_first_message(images + "/ids-1.img"))) return "";
  const std::string image = fmt::format("{}/nftables-{}.img", images, ids.net_ns_id());
  const auto rules = read_file_if_exists(image, kMaxRules);
  if (!rules || rules->empty()) return "";
  check_rules(*rules);
  UniqueFd user;
  if (ids_of_container.first != 0) user = isolation::make_user_namespace_fd(ids_of_container);
  try {
    in_child(kLoad, [&] {
      if (user) become_root_of(user.get());
      sys::unshare(user ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET, "a network namespace to try rules in");
      load(*rules);
    });
  } catch (const Error&) {  // left to CRIU, whose library may be able to
    return "";
  }
  sys::remove_file(image);
  return *rules;
}

void load_firewall_rules(pid_t process, const std::string& rules) {
  const ContainerNamespaces namespaces(process, "net");
  in_child(kLoad, [&] {
    namespaces.enter();
    load(rules);
  });
}

}  // namespace holm::checkpoint
