// CRIU as a program that serves one request: what it is asked, what it tells while it works, how it ends.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace holm::checkpoint {

namespace rpc {
class Answer;
class Request;
}  // namespace rpc

// The program (runtime/criu_program.h). Throws where there is none.
std::string find_criu();

// Called at CRIU's notifications ("post-dump", "network-unlock", ...), of which it waits for the end. `pid`
// is the restored init's where CRIU tells it, else 0. An Error that leaves it makes CRIU give up and undo.
using Notified = std::function<void(const std::string& event, pid_t pid)>;

// What may end a request that is under way. `look` is called about once a second, and when `fd` has an event
// (POLLIN, POLLRDHUP); an Error that leaves it makes CRIU give up.
struct Watch {
  int fd = -1;
  std::function<void()> look;
};

// What its request leaves behind: CRIU writes it as it works.
inline constexpr const char* kCriuLog = "criu.log";

enum class Lifetime {
  own,        // it ends what it has begun, also where the calling process is killed
  as_caller,  // it is killed with it
};

class Criu {
 public:
  // Starts the program. It keeps `inherited` under their numbers and nothing else of ours, writes what it
  // says outside of its log into `output`, and is no part of our session. A child of the calling process.
  Criu(const std::string& program, Lifetime lifetime, const std::vector<int>& inherited, int output);
  // Where it still runs it is told to give up, and some seconds later killed, with what it has started.
  ~Criu();
  Criu(const Criu&) = delete;
  Criu& operator=(const Criu&) = delete;

  // Its version as "4.2.1"; before `call`, of which there is one.
  std::string version();
  // Sends the request and serves its notifications until the answer. Throws what `notified` or `watch` threw.
  // That it could not do what was asked is in the answer, which has no success and no error number where CRIU
  // ended without one.
  rpc::Answer call(const rpc::Request& request, const Notified& notified, const Watch& watch);

 private:
  std::optional<std::string> receive(const Watch& watch);

  UniqueFd socket_;
  pid_t pid_ = 0;
  UniqueFd process_;
  bool has_answered_ = false;
};

// The version of a program that is asked for nothing else.
std::string criu_version(const std::string& program);
// Whether CRIU can tell on this kernel which memory was written since it looked last.
bool tracks_memory(const std::string& program);

}  // namespace holm::checkpoint
