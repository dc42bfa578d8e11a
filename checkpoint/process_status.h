// /proc/PID/status. Not for other folders.
#pragma once

#include <map>
#include <string>

namespace holm::checkpoint {

// The lines of `directory`/status by their keys: "NSpid" -> "812 5". Throws where the process is gone.
std::map<std::string, std::string> read_process_status(const std::string& directory);

}  // namespace holm::checkpoint
