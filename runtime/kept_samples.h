// Samples that the ledger could not take when they had to be taken: each in a file of its own until it can.
#pragma once

#include <string>
#include <vector>

#include "quotas/ledger.h"
#include "runtime/paths.h"

namespace holm::runtime {

struct KeptFile {
  std::string path;
  quotas::KeptSample kept;
};

// Beside the ledger or, where that disk takes nothing or does not answer, below the run directory.
enum class LedgerDisk { answers, hangs };
void keep_sample(const Paths& paths, const quotas::LedgerSample& sample, LedgerDisk disk);
// Those of one container, or of all for an empty uuid, oldest first. A file that cannot be read is left
// alone, and told in `warnings`.
std::vector<KeptFile> kept_samples(const Paths& paths, const std::string& uuid,
                                   std::vector<std::string>& warnings);
// Once it has been counted. One that cannot be removed is not counted again.
void remove_kept(const std::string& path);

// For tests and for the functions above.
std::string encode_sample(const quotas::LedgerSample& sample);
quotas::LedgerSample decode_sample(const std::string& text);

}  // namespace holm::runtime
