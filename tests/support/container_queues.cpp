// A static program that system tests put into a container to use POSIX message queues by words:
//   make NAME MESSAGES SIZE [UID]   a queue, of that user
//   send NAME COUNT SIZE            messages with a pattern of their own, of three priorities
//   take NAME                       all of them, one a line: size, priority, a sum over the content
//   hold NAME                       has it open for ever
//   churn SECONDS                   makes, opens, fills, removes and closes queues all the time
#include <fcntl.h>
#include <mqueue.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace {

int fail(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, strerrorname_np(errno));
  return 1;
}

mqd_t make(const char* name, long messages, long size) {
  mq_attr attributes = {};
  attributes.mq_maxmsg = messages;
  attributes.mq_msgsize = size;
  return ::mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0640, &attributes);
}

int make_queue(const char* name, long messages, long size, const char* user) {
  if (user && ::setresuid(static_cast<uid_t>(std::atoi(user)), static_cast<uid_t>(std::atoi(user)),
                          static_cast<uid_t>(std::atoi(user))) != 0)
    return fail("setresuid");
  return make(name, messages, size) < 0 ? fail("mq_open") : 0;
}

int send(const char* name, int count, size_t size) {
  const mqd_t queue = ::mq_open(name, O_WRONLY | O_NONBLOCK);
  std::vector<char> content(size);
  for (int i = 0; i < count; ++i) {
    for (size_t at = 0; at < size; ++at) content[at] = static_cast<char>(at * 31 + static_cast<size_t>(i));
    if (::mq_send(queue, content.data(), size, static_cast<unsigned>(i % 3)) != 0) return fail("mq_send");
  }
  return 0;
}

int take(const char* name) {
  const mqd_t queue = ::mq_open(name, O_RDONLY | O_NONBLOCK);
  mq_attr attributes = {};
  if (::mq_getattr(queue, &attributes) != 0) return fail("mq_getattr");
  std::vector<char> content(static_cast<size_t>(attributes.mq_msgsize));
  unsigned priority = 0;
  for (ssize_t size = 0; (size = ::mq_receive(queue, content.data(), content.size(), &priority)) >= 0;) {
    unsigned long sum = 0;
    for (ssize_t at = 0; at < size; ++at)
      sum = sum * 33 + static_cast<unsigned char>(content[static_cast<size_t>(at)]);
    std::printf("%zd %u %lx\n", size, priority, sum);
  }
  return 0;
}

int hold(const char* name) {
  if (::mq_open(name, O_RDWR) < 0) return fail("mq_open");
  for (;;) ::pause();
}

int churn(int seconds) {
  const time_t end = std::time(nullptr) + seconds;
  for (int i = 0; std::time(nullptr) < end; ++i) {
    const std::string name = "/churn" + std::to_string(i % 5);
    ::mq_unlink(name.c_str());
    const mqd_t queue = make(name.c_str(), 4, 16);
    if (queue < 0) return fail("mq_open");
    ::mq_send(queue, "x", 1, 0);
    if (i % 2 == 0) ::mq_unlink(name.c_str());
    ::usleep(1000);
    char content[16];
    if (::mq_receive(queue, content, sizeof content, nullptr) != 1 || content[0] != 'x')
      return fail("mq_receive");
    ::mq_close(queue);
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const std::string_view verb = count > 1 ? words[1] : "";
  if (verb == "make" && count >= 5)
    return make_queue(words[2], std::atol(words[3]), std::atol(words[4]), count > 5 ? words[5] : nullptr);
  if (verb == "send" && count == 5)
    return send(words[2], std::atoi(words[3]), static_cast<size_t>(std::atol(words[4])));
  if (verb == "take" && count == 3) return take(words[2]);
  if (verb == "hold" && count == 3) return hold(words[2]);
  if (verb == "churn" && count == 3) return churn(std::atoi(words[2]));
  return 2;
}
