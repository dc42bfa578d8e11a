// Copies of a file's content.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace holm::storage {

// Copies the content of the regular file `from` into the empty regular file `to`: shared blocks where the
// file system can, else inside the kernel, else through memory; holes stay holes. `before_write` is called
// with the number of bytes that are about to be taken and may throw. `name` is for messages.
void copy_content(int from, int to, std::string_view name,
                  const std::function<void(uint64_t bytes)>& before_write);

}  // namespace holm::storage
