// A request to CRIU about a container's processes, from its empty log to the explanation of its end.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/criu.h"

namespace holm::checkpoint {

namespace rpc {
class Options;
}  // namespace rpc

struct CriuWork {
  std::string program;
  std::string images;         // their directory
  std::string run_directory;  // the container's, where CRIU writes its log
  Lifetime lifetime = Lifetime::own;
  std::vector<int> inherited;                                  // as Criu keeps them
  std::function<void(const std::string& version)> on_version;  // CRIU's, before it begins
  Notified on_event;
  Watch watch;
};

// CRIU could not, for a state of the processes that soon ends by itself.
class PassingFailure : public Error {
 public:
  explicit PassingFailure(Error error) : Error(std::move(error)) {}
};

// What dumps and restores have to agree on.
void fill_common_options(rpc::Options& options);
// Has CRIU do `request`, whose images and log are set here. Throws the explanation where it could not.
void perform(rpc::Request request, const CriuWork& work);

}  // namespace holm::checkpoint
