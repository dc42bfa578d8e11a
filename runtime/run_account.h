// What a monitor does for the ledger while its container runs, and when it has ended.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/unique_fd.h"
#include "runtime/paths.h"

namespace holm::runtime {

// The ledger is written by short-lived children: a disk that hangs, a ledger that is locked or damaged then
// never keeps the monitor from its container, and its memory stays as small as it was.
class RunAccount {
 public:
  using Log = std::function<void(const std::string&)>;
  RunAccount(Paths paths, std::string name, Durability durability, Log log);
  ~RunAccount();

  // A run began (or was adopted). The first sample follows a moment later, when the start is done. Until
  // `finish` the network namespace of init is held, as the links end with it and what they counted, too.
  void begin(pid_t init);
  // For the monitor's poll(2): a child to wait for (or -1), and when `serve` has something to do.
  int fd() const { return sampler_.get(); }
  std::optional<std::chrono::steady_clock::time_point> due() const { return sampler_ ? std::nullopt : due_; }
  void serve();

  // Init has just ended.
  void note_end();
  // The last sample of the run. Never throws: what cannot be written is kept for the next sample.
  void finish() noexcept;

 private:
  void start_sampler();
  [[noreturn]] void run_sampler();
  bool await_written(std::chrono::milliseconds patience);
  void kill_sampler();
  void reap_sampler();

  Paths paths_;
  std::string name_;
  Durability durability_;
  Log log_;
  UniqueFd network_namespace_;
  UniqueFd sampler_;               // a pidfd
  std::vector<UniqueFd> hanging_;  // those that were killed and are not dead yet
  UniqueFd written_;               // a pipe on which it says so
  bool has_written_ = false;       // what is left for it to do is to wait for the disk
  std::optional<std::chrono::steady_clock::time_point> due_;
  std::optional<int64_t> ended_ns_;
};

}  // namespace holm::runtime
