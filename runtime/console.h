// The container's console: a pty of the host whose master the monitor keeps, a bounded log of what was
// written to it, and the clients that are attached to it.
#pragma once

#include <poll.h>

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace holm::runtime {

inline constexpr uint64_t kMaxLogSize = 1 << 20;  // then init.log becomes init.log.1

// Messages of a client to the console: a tag, then data. What the console sends to clients is plain output.
inline constexpr char kConsoleData = 'd';
inline constexpr char kConsoleResize = 'r';  // followed by two uint16_t: rows, columns

class Console {
 public:
  // `run_directory`: /run/holm/NAME, where console.sock and init.log are made. The slave is owned by `owner`,
  // the host's id of the container's root.
  Console(const std::string& run_directory, uid_t owner);
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console();

  int slave() const { return slave_.get(); }
  // A client that is attached from the start; it never misses output (the container waits for it instead).
  void add_foreground_client(UniqueFd client);

  // What to poll for, and what to do about it: for the monitor's loop.
  void add_to(std::vector<pollfd>& wanted) const;
  void handle(const std::vector<pollfd>& ready);
  // Takes what is left in the pty after init ended.
  void drain();

 private:
  struct Client {
    UniqueFd socket;
    bool foreground = false;
  };
  bool read_output();
  void log(std::string_view output);
  void accept_client();
  bool handle_input(Client& client);

  std::string directory_;
  UniqueFd master_;
  UniqueFd slave_;  // kept open: without any slave the master reads EIO while no process has the console open
  UniqueFd listener_;
  UniqueFd log_;
  uint64_t log_size_ = 0;
  std::list<Client> clients_;
};

// Connects to a container's console.
UniqueFd connect_console(const std::string& run_directory);

}  // namespace holm::runtime
