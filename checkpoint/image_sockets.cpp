#include "checkpoint/image_sockets.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "checkpoint/store.h"

namespace holm::checkpoint {

bool has_unsent_data(const std::string& images) {
  return std::ranges::any_of(list_images(images), [&](const std::string& name) {
    if (!name.starts_with("tcp-stream-")) return false;
    return with_frame("the checkpoint's image '" + name + "'", [&] {
      images::TcpStream stream;
      if (!stream.ParseFromString(read_first_message(images + "/" + name))) throw Error("it is damaged");
      return stream.unsq_len() > 0;
    });
  });
}

}  // namespace holm::checkpoint
