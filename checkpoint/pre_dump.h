// Memory that is saved while a container runs, so that the checkpoint that follows has only to save what was
// written since (the kernel's soft-dirty bits, CONFIG_MEM_SOFT_DIRTY).
//
//   checkpoint/.pre/of        the run whose memory it is
//   checkpoint/.pre/1, 2, ... each has what was written since the one before, and says so by a link "parent"
//
// Pages that a later one has are taken out of the earlier ones, which are of no use if that is interrupted:
// all of them go then. In a checkpoint they are images/parent, images/parent/parent, ...
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "runtime/observe.h"

namespace holm::checkpoint {

struct PreDumpReport {
  unsigned level = 0;
  uint64_t written = 0;  // bytes of memory, as the images have them
  uint64_t skipped = 0;  // bytes that were not written since the level before
  std::chrono::milliseconds frozen{0};
};

// Takes the container's lock. Throws where the kernel does not know what was written.
PreDumpReport pre_dump(const runtime::Installation& installation, const std::string& name,
                       std::optional<std::chrono::seconds> timeout);

// What there is of this run, for a checkpoint whose images are in `draft`/images: moved to `draft`/pre, as it
// is good for one use. Returns its last level's path relative to the images; "" where there is none.
std::string take_pre_dumps(const runtime::Paths& paths, const runtime::State& state,
                           const std::string& draft);
// Once the dump that builds on them is there: puts them where a restore looks, with what it needs of them.
void keep_pre_dumps(const std::string& draft);

}  // namespace holm::checkpoint
