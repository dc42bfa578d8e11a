// Reads messages of images, and changes them in place. Not for other folders.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/image_file.h"

namespace holm::checkpoint {

template <class Message>
std::vector<Message> read_messages(const std::string& path) {
  std::vector<Message> messages;
  for (const std::string& bytes : read_image(path).messages)
    if (!messages.emplace_back().ParseFromString(bytes)) throw Error(fmt::format("'{}' is damaged", path));
  return messages;
}

// Calls `body` with the messages of each image whose name begins so, and writes back what it changed.
template <class Message, class Body>
void rewrite_each(const std::string& images, std::string_view prefix, Body&& body) {
  for (const std::string& name : list_directory(images)) {
    if (!name.starts_with(prefix) || !name.ends_with(".img")) continue;
    with_frame(fmt::format("the checkpoint's image '{}'", name), [&] {
      ImageFile image = read_image(images + "/" + name);
      const ImageFile before = image;
      for (std::string& bytes : image.messages) {
        Message message;
        if (!message.ParseFromString(bytes)) throw Error("it is damaged");
        body(message);
        bytes = message.SerializeAsString();
      }
      if (image.messages != before.messages) write_image(images + "/" + name, image);
    });
  }
}

}  // namespace holm::checkpoint
