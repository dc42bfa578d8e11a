#include "runtime/console.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/sys.h"
#include "runtime/local_socket.h"

namespace holm::runtime {
namespace {

constexpr size_t kMaxClients = 8;
constexpr size_t kChunk = 4096;

UniqueFd open_slave(int master) {
  int locked = 0;
  if (::ioctl(master, TIOCSPTLCK, &locked) != 0) throw Error::system("unlock the console's pty");
  // Not by path: whatever is mounted on /dev/pts meanwhile, this is the master's own peer.
  UniqueFd slave(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) throw Error::system("open the console's pty");
  return slave;
}

const pollfd* find_ready(const std::vector<pollfd>& ready, int fd) {
  for (const pollfd& entry : ready) {
    if (entry.fd == fd && entry.revents != 0) return &entry;
  }
  return nullptr;
}

}  // namespace

Console::Console(const std::string& run_directory, uid_t owner) : directory_(run_directory) {
  master_ = sys::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
  slave_ = open_slave(master_.get());
  const winsize size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(master_.get(), TIOCSWINSZ, &size);  // a default until a client tells its own
  sys::chown_fd(slave_.get(), owner, owner, "console");
  sys::chmod_fd(slave_.get(), 0600, "console");
  log_ = sys::open(directory_ + "/init.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  log_size_ = static_cast<uint64_t>(sys::stat_fd(log_.get(), "init.log").st_size);
  listener_ = listen_local(directory_, "console.sock");
}

Console::~Console() { ::unlink((directory_ + "/console.sock").c_str()); }

void Console::add_foreground_client(UniqueFd client) {
  clients_.push_back({std::move(client), true});
  handle_input(clients_.back());  // the size of its terminal, before the payload asks for it
}

void Console::add_to(std::vector<pollfd>& wanted) const {
  bool writable = true;
  for (const Client& client : clients_) {
    pollfd room = {client.socket.get(), POLLOUT, 0};
    if (client.foreground && ::poll(&room, 1, 0) == 0) {
      writable = false;  // wait for it; the container blocks on its console meanwhile
      wanted.push_back({client.socket.get(), POLLIN | POLLOUT, 0});
    } else {
      wanted.push_back({client.socket.get(), POLLIN, 0});
    }
  }
  if (writable) wanted.push_back({master_.get(), POLLIN, 0});
  wanted.push_back({listener_.get(), POLLIN, 0});
}

void Console::handle(const std::vector<pollfd>& ready) {
  if (find_ready(ready, master_.get())) read_output();
  for (auto client = clients_.begin(); client != clients_.end();) {
    const pollfd* entry = find_ready(ready, client->socket.get());
    const bool keep = !entry || (entry->revents & (POLLIN | POLLHUP | POLLERR)) == 0 || handle_input(*client);
    client = keep ? std::next(client) : clients_.erase(client);
  }
  if (find_ready(ready, listener_.get())) accept_client();
}

void Console::drain() {
  // Bounded: a process that survives init cannot keep the monitor here.
  for (int chunk = 0; chunk < 256 && read_output(); ++chunk) {
  }
}

bool Console::read_output() {
  char buffer[kChunk];
  const ssize_t size = ::read(master_.get(), buffer, sizeof buffer);
  if (size <= 0) return false;  // EAGAIN: nothing there
  const std::string_view output(buffer, static_cast<size_t>(size));
  log(output);
  clients_.remove_if([&](const Client& client) {
    const int flags = MSG_NOSIGNAL | (client.foreground ? 0 : MSG_DONTWAIT);
    // A client that is too slow misses output; only one that is gone is forgotten.
    return ::send(client.socket.get(), output.data(), output.size(), flags) < 0 && errno != EAGAIN;
  });
  return true;
}

void Console::log(std::string_view output) {
  // A full disk must not stop the container: output that cannot be logged is only shown.
  const ssize_t written = ::write(log_.get(), output.data(), output.size());
  if (written > 0) log_size_ += static_cast<uint64_t>(written);
  if (log_size_ < kMaxLogSize) return;
  ignore_errors([&] {  // the old log goes on being written where rotation fails
    sys::rename(directory_ + "/init.log", directory_ + "/init.log.1");
    log_ = sys::open(directory_ + "/init.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
    log_size_ = 0;
  });
}

void Console::accept_client() {
  UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (client && clients_.size() < kMaxClients) clients_.push_back({std::move(client), false});
}

bool Console::handle_input(Client& client) {
  char buffer[kChunk + 1];
  const ssize_t size = ::recv(client.socket.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) return false;
  const std::string_view data(buffer + 1, static_cast<size_t>(size) - 1);
  if (buffer[0] == kConsoleResize && data.size() == 2 * sizeof(uint16_t)) {
    winsize window = {};
    std::memcpy(&window.ws_row, data.data(), sizeof window.ws_row);
    std::memcpy(&window.ws_col, data.data() + sizeof window.ws_row, sizeof window.ws_col);
    ::ioctl(master_.get(), TIOCSWINSZ, &window);
  }
  // What does not fit is lost, as on a serial line: a payload that does not read must not stop the monitor.
  if (buffer[0] == kConsoleData && ::write(master_.get(), data.data(), data.size()) < 0)
    return errno == EAGAIN;
  return true;
}

UniqueFd connect_console(const std::string& run_directory) {
  return connect_local(run_directory, "console.sock");
}

}  // namespace holm::runtime
