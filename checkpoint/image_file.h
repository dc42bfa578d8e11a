// CRIU's image files: two magic numbers, then messages with their lengths before them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace holm::checkpoint {

struct ImageFile {
  std::string head;                   // the magic numbers
  std::vector<std::string> messages;  // as protobuf encodes them
};

// Throws where the file is none of that form. Not for images with pages or other raw data behind a message.
ImageFile read_image(const std::string& path);
// Its first message, whatever stands behind it.
std::string read_first_message(const std::string& path);
std::string encode_image(const ImageFile& image);
// Replaces it whole.
void write_image(const std::string& path, const ImageFile& image);

}  // namespace holm::checkpoint
