#include "runtime/local_socket.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/sys.h"

namespace holm::runtime {
namespace {

constexpr int kBacklog = 16;

// A socket address has room for 107 characters only, so the directory is named by its descriptor.
sockaddr_un address_in(int directory, const std::string& name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/{}", directory, name);
  return address;
}

UniqueFd make_socket(int flags) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
  if (!socket) throw Error::system("make a local socket");
  return socket;
}

}  // namespace

UniqueFd listen_local(const std::string& directory, const std::string& name) {
  const UniqueFd parent = sys::open(directory, O_PATH | O_DIRECTORY);
  sys::remove_file(directory + "/" + name);
  UniqueFd socket = make_socket(SOCK_NONBLOCK);
  const sockaddr_un address = address_in(parent.get(), name);
  // The directory is 0700, so nobody else reaches the socket between bind and chmod.
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), kBacklog) != 0)
    throw Error::system(fmt::format("listen on '{}/{}'", directory, name));
  if (::chmod((directory + "/" + name).c_str(), 0600) != 0)
    throw Error::system(fmt::format("protect '{}/{}'", directory, name));
  return socket;
}

UniqueFd connect_local(const std::string& directory, const std::string& name) {
  const UniqueFd parent = sys::open(directory, O_PATH | O_DIRECTORY);
  UniqueFd socket = make_socket(0);
  const sockaddr_un address = address_in(parent.get(), name);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw Error::system(fmt::format("connect to '{}/{}'", directory, name));
  return socket;
}

}  // namespace holm::runtime
