#include "checkpoint/firewall_rules.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "netsetup/firewall.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxRules = 32 << 20;
constexpr unsigned kPatienceSeconds = 60;

// The namespace's root, and nobody on the host.
void become_root_of(int user_namespace) {
  sys::set_namespaces(user_namespace, CLONE_NEWUSER, "a container's user namespace");
  if (::setgroups(0, nullptr) != 0 || ::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)
    throw Error::system("become a container's root");
}

// Calls `body` in a child, as nobody comes back from a user namespace, and what is parsed there is not ours.
std::optional<Error> fails_in_child(const std::function<void()>& body) {
  sys::Pipe pipe = sys::pipe();
  const pid_t child = ::fork();
  if (child < 0) throw Error::system("make a process that loads firewall rules");
  if (child == 0) {
    ::alarm(kPatienceSeconds);
    try {
      body();
      ::_exit(0);
    } catch (const Error& error) {
      ignore_errors([&] { sys::write_all(pipe.write_end.get(), error.encode(), "the parent's pipe"); });
    } catch (...) {  // the parent sees that there is no word
    }
    ::_exit(1);
  }
  pipe.write_end.reset();
  std::string word;
  ignore_errors([&] { word = read_fd(pipe.read_end.get(), "the child's pipe"); });
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
  return word.empty() ? Error("load firewall rules: the process that did it was killed")
                      : Error::decode(word);
}

void load(const std::string& rules) { netsetup::run_nftables(rules, "load firewall rules"); }

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
  const auto failure = fails_in_child([&] {
    if (user) become_root_of(user.get());
    sys::unshare(user ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET, "a network namespace to try rules in");
    load(*rules);
  });
  if (failure) return "";
  sys::remove_file(image);
  return *rules;
}

void load_firewall_rules(pid_t process, const std::string& rules) {
  const UniqueFd user = sys::open(fmt::format("/proc/{}/ns/user", process), O_RDONLY);
  const UniqueFd network = sys::open(fmt::format("/proc/{}/ns/net", process), O_RDONLY);
  const auto failure = fails_in_child([&] {
    const bool is_own = sys::stat_fd(user.get(), "a user namespace").st_ino ==
                        sys::stat_fd(sys::open("/proc/self/ns/user", O_RDONLY).get(), "ours").st_ino;
    if (!is_own) become_root_of(user.get());
    sys::set_namespaces(network.get(), CLONE_NEWNET, "the container's network namespace");
    load(rules);
  });
  if (failure) throw *failure;
}

}  // namespace holm::checkpoint
