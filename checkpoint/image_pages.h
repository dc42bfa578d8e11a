// Where images keep what memory held: a list of page ranges for each memory map, and a file with their bytes.
#pragma once

#include <string>

namespace holm::checkpoint {

// Throws where a list names other pages than its file has: CRIU would wait for those that are missing, for
// ever.
void check_pages(const std::string& images);

}  // namespace holm::checkpoint
