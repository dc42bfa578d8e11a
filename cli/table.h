// Aligned columns for people.
#pragma once

#include <string>
#include <vector>

namespace holm::cli {

// The header and the rows with two blanks between columns; no blanks at line ends. Cells are made printable.
std::string format_table(const std::vector<std::string>& header,
                         const std::vector<std::vector<std::string>>& rows);

}  // namespace holm::cli
