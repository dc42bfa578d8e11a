#include "checkpoint/process_status.h"

#include "base/file.h"
#include "base/text.h"

namespace holm::checkpoint {

std::map<std::string, std::string> read_process_status(const std::string& directory) {
  std::map<std::string, std::string> status;
  for (const std::string& line : split(read_file(directory + "/status"), '\n'))
    if (const size_t colon = line.find(':'); colon != std::string::npos)
      status.emplace(line.substr(0, colon), trim(std::string_view(line).substr(colon + 1)));
  return status;
}

}  // namespace holm::checkpoint
