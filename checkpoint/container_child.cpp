#include "checkpoint/container_child.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"

namespace holm::checkpoint {
namespace {

constexpr unsigned kPatienceSeconds = 60;
constexpr size_t kMaxAnswer = 1 << 20;
// How the child's answer begins.
constexpr char kDone = '+', kFailed = '-';

[[noreturn]] void answer_with(int pipe, const std::function<void()>& body) {
  ::alarm(kPatienceSeconds);
  std::string answer;
  try {
    body();
    answer = kDone;
  } catch (const Error& error) {
    answer = kFailed + error.encode();
  } catch (...) {  // the parent sees that there is no word
  }
  ignore_errors([&] { sys::write_all(pipe, answer, "the parent's pipe"); });
  ::_exit(0);
}

}  // namespace

void in_child(std::string_view what, const std::function<void()>& body) {
  sys::Pipe pipe = sys::pipe();
  const pid_t child = ::fork();
  if (child < 0) throw Error::system(fmt::format("{}: make a process for it", what));
  if (child == 0) {
    pipe.read_end.reset();  // the end of our parent is the end of the pipe
    answer_with(pipe.write_end.get(), body);
  }
  const UniqueFd process = sys::pidfd_open(child);
  pipe.write_end.reset();
  std::string answer;
  ignore_errors([&] { answer = read_fd(pipe.read_end.get(), "the child's pipe", kMaxAnswer); });
  pipe.read_end.reset();
  reap(process.get());
  if (answer.starts_with(kDone)) return;
  if (answer.starts_with(kFailed)) throw Error::decode(answer.substr(1));
  throw Error(fmt::format("{}: the process that did it was killed", what));
}

void become_root_of(int user_namespace) {
  sys::set_namespaces(user_namespace, CLONE_NEWUSER, "a container's user namespace");
  if (::setgroups(0, nullptr) != 0 || ::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)
    throw Error::system("become a container's root");
}

ContainerNamespaces::ContainerNamespaces(pid_t process, const std::string& kind)
    : other_(sys::open(fmt::format("/proc/{}/ns/{}", process, kind), O_RDONLY)) {
  UniqueFd user = sys::open(fmt::format("/proc/{}/ns/user", process), O_RDONLY);
  const UniqueFd own = sys::open("/proc/self/ns/user", O_RDONLY);
  const bool is_ours = sys::stat_fd(user.get(), "a user namespace").st_ino ==
                       sys::stat_fd(own.get(), "our user namespace").st_ino;
  if (!is_ours) user_ = std::move(user);
}

void ContainerNamespaces::enter() const {
  if (user_) become_root_of(user_.get());
  sys::set_namespaces(other_.get(), 0, "a container's namespace");
}

}  // namespace holm::checkpoint
