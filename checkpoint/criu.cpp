#include "checkpoint/criu.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <optional>

#include "base/error.h"
#include "base/process.h"
#include "base/sys.h"
#include "checkpoint/criu_rpc.pb.h"
#include "runtime/criu_program.h"
#include "runtime/payload.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxAnswer = 1 << 20;
constexpr std::chrono::seconds kPatience(10);
constexpr std::chrono::milliseconds kLookAgain(1000);

// From the unlocking of the network on CRIU restores to the end, whatever it is told.
bool is_ignored(std::string_view event) { return event == "network-unlock" || event == "pre-resume"; }

// Runs in the forked child. Only what is safe between fork and exec of a single-threaded process.
[[noreturn]] void become_criu(const std::string& program, Lifetime lifetime, int socket,
                              const std::vector<int>& inherited, int output) {
  ignore_errors([&] {  // the parent sees the end of file
    sys::reset_inherited();
    if (lifetime == Lifetime::as_caller) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      // A caller that was killed before this has closed its end of the socket.
      pollfd caller = {socket, 0, 0};
      if (::poll(&caller, 1, 0) != 0) ::_exit(kExitHolmFailed);
    }
    // What it has in its hands would be lost with it when memory is short.
    if (lifetime == Lifetime::own) spare_when_memory_is_short();
    // Ctrl-C at a terminal must not end it in the middle of a process that it has stopped.
    ::setsid();
    // What it restores inherits its keyring: not the host's.
    runtime::join_new_keyring();
    const UniqueFd null = sys::open("/dev/null", O_RDONLY);
    if (::dup2(null.get(), 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) return;
    sys::close_on_exec_from(3);
    for (const int fd : inherited) sys::set_close_on_exec(fd, false);
    sys::set_close_on_exec(socket, false);
    const std::string number = std::to_string(socket);
    const char* const arguments[] = {program.c_str(), "swrk", number.c_str(), nullptr};
    const char* const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                       nullptr};
    ::execve(program.c_str(), const_cast<char* const*>(arguments), const_cast<char* const*>(environment));
  });
  ::_exit(kExitHolmFailed);
}

}  // namespace

std::string find_criu() {
  const std::string program = runtime::criu_program();
  if (program.empty())
    throw Error("there is no CRIU on this host, which checkpoints are made with")
        .hint(
            "run scripts/setup, which puts one that fits this kernel beside the system's, or install 'criu'");
  return program;
}

Criu::Criu(const std::string& program, Lifetime lifetime, const std::vector<int>& inherited, int output) {
  auto [ours, theirs] = sys::socket_pair(SOCK_SEQPACKET);
  int pidfd = -1;
  clone_args arguments = {};
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) throw Error::system(fmt::format("start '{}'", program));
  if (pid == 0) {
    ours.reset();
    become_criu(program, lifetime, theirs.get(), inherited, output);
  }
  pid_ = static_cast<pid_t>(pid);
  socket_ = std::move(ours);
  process_.reset(pidfd);
}

Criu::~Criu() {
  socket_.reset();
  // Without its socket it undoes what it has begun and ends: that is given time before it is killed.
  if (!sys::pidfd_wait_ended(process_.get(), kPatience)) sys::pidfd_signal(process_.get(), SIGKILL);
  // What it was restoring, or tried the kernel with, would wait for it for ever. It has not been waited for:
  // nobody else has its number.
  if (!has_answered_)
    ignore_errors([&] { kill_processes([&](pid_t pid) { return pid != pid_ && ::getsid(pid) == pid_; }); });
  reap(process_.get());
}

// A message of CRIU's; nothing at the end of the stream.
std::optional<std::string> Criu::receive(const Watch& watch) {
  std::string buffer(kMaxAnswer, '\0');
  for (;;) {
    pollfd wanted[3] = {
        {socket_.get(), POLLIN, 0}, {watch.fd, POLLIN | POLLRDHUP, 0}, {process_.get(), POLLIN, 0}};
    const int ready = ::poll(wanted, 3, static_cast<int>(kLookAgain.count()));
    if (ready < 0 && errno != EINTR) throw Error::system("wait for CRIU");
    if (watch.look && (ready <= 0 || wanted[1].revents)) watch.look();
    // Processes that it has started may hold the other end of the socket when it is killed.
    if (ready > 0 && !wanted[0].revents && wanted[2].revents) return std::nullopt;
    if (ready <= 0 || !wanted[0].revents) continue;
    const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    // As at the end of one that was killed with a message of ours unread.
    if (size == 0 || (size < 0 && errno == ECONNRESET)) return std::nullopt;
    if (size < 0) throw Error::system("talk to CRIU");
    buffer.resize(static_cast<size_t>(size));
    return buffer;
  }
}

rpc::Answer Criu::call(const rpc::Request& request, const Notified& notified, const Watch& watch) {
  // Where it has ended, the end of the stream tells.
  const auto send = [&](const rpc::Request& message) {
    const std::string bytes = message.SerializeAsString();
    if (::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 && errno != EPIPE)
      throw Error::system("talk to CRIU");
  };
  has_answered_ = false;
  send(request);
  std::exception_ptr failure;
  for (;;) {
    const auto message = receive(watch);
    rpc::Answer answer;
    if (!message) answer.set_success(false);
    if (message && !answer.ParseFromString(*message)) throw Error("CRIU's answer is none");
    if (!message || answer.type() != rpc::NOTIFY) {
      has_answered_ = message.has_value();
      if (failure) std::rethrow_exception(failure);
      return answer;
    }
    rpc::Request reply;
    reply.set_type(rpc::NOTIFY);
    try {
      if (!failure) notified(answer.notify().script(), answer.notify().pid());
    } catch (...) {
      failure = std::current_exception();
      if (is_ignored(answer.notify().script())) {
        sys::pidfd_signal(process_.get(), SIGKILL);
        throw;
      }
    }
    reply.set_notify_success(!failure);
    send(reply);
  }
}

namespace {

// Of what takes no time.
Watch not_for_long() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  return {-1, [end] {
            if (std::chrono::steady_clock::now() > end) throw Error("CRIU does not answer");
          }};
}

}  // namespace

std::string Criu::version() {
  rpc::Request request;
  request.set_type(rpc::VERSION);
  request.set_keep_open(true);
  const rpc::Answer answer = call(request, {}, not_for_long());
  if (!answer.has_version()) throw Error("CRIU ended before it told its version");
  const rpc::Version& version = answer.version();
  return fmt::format("{}.{}.{}", version.major_number(), version.minor_number(), version.sublevel());
}

std::string criu_version(const std::string& program) {
  const UniqueFd null = sys::open("/dev/null", O_RDWR);
  return Criu(program, Lifetime::own, {}, null.get()).version();
}

bool tracks_memory(const std::string& program) {
  const UniqueFd null = sys::open("/dev/null", O_RDWR);
  rpc::Request request;
  request.set_type(rpc::FEATURE_CHECK);
  request.mutable_features()->set_mem_track(true);
  const rpc::Answer answer = Criu(program, Lifetime::own, {}, null.get()).call(request, {}, not_for_long());
  return answer.success() && answer.features().mem_track();
}

}  // namespace holm::checkpoint
