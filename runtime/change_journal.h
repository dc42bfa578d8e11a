// A change of a running container's limits from its begin to its end: what a command that is killed in the
// middle leaves for the next one, which finishes the change or takes it back.
#pragma once

#include <sys/resource.h>

#include <map>
#include <optional>
#include <string>

#include "runtime/container_store.h"
#include "runtime/observe.h"

namespace holm::runtime {

struct ChangeJournal {
  std::string after;  // the run's config with the change, which counts once it is recorded
  struct Saved {
    std::string before, after;
  };
  std::optional<Saved> saved;            // what the container's config then becomes
  std::map<std::string, rlimit> limits;  // of those that change: what init had before
};

// The caller holds the container's lock and its config's.
void begin_change(const Paths& paths, const std::string& name, const ChangeJournal& journal);
void end_change(const Paths& paths, const std::string& name);

// What cannot be put back now is tried again by the next command. The caller holds the container's lock.
void finish_forgotten_change(const Installation& installation, const Observation& seen) noexcept;

}  // namespace holm::runtime
