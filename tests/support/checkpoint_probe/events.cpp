// What a program waits for events with: epoll, eventfd, inotify.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "object.h"

namespace probe {
namespace {

constexpr uint64_t kData = 0xfeedfacecafe0000;

Fd make_epoll() { return Fd(must(::epoll_create1(0), "epoll_create1")); }

void watch(const Fd& epoll, int operation, const Fd& watched, uint32_t events, uint64_t data) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = data;
  must(::epoll_ctl(epoll.get(), operation, watched.get(), &event), "epoll_ctl");
}

// Empty where there is none within the time.
std::vector<epoll_event> wait_for_events(const Fd& epoll, std::chrono::milliseconds time) {
  std::vector<epoll_event> events(10);
  int count = -1;
  do {
    count = ::epoll_wait(epoll.get(), events.data(), 10, static_cast<int>(time.count()));
  } while (count < 0 && errno == EINTR);
  events.resize(static_cast<size_t>(must(count, "epoll_wait")));
  return events;
}

void expect_event(const Fd& epoll, uint32_t flags, uint64_t data) {
  const auto events = wait_for_events(epoll, patient(kPatience));
  expect_equal("events", events.size(), 1U);
  expect_equal("flags of the event", uint32_t(events[0].events), flags);
  expect_equal("data of the event", uint64_t(events[0].data.u64), data);
}

void expect_no_event(const Fd& epoll) { expect_equal("events", wait_for_events(epoll, 0ms).size(), 0U); }

// Two descriptors, one of them ready; another interest each round.
class LevelEpoll : public Object {
 public:
  void set_up() override {
    epoll_ = make_epoll();
    ready_ = make_pipe();
    quiet_ = make_pipe();
    write_all(ready_.writer.get(), "x");
    watch(epoll_, EPOLL_CTL_ADD, ready_.reader, EPOLLIN, 0);
    watch(epoll_, EPOLL_CTL_ADD, quiet_.reader, EPOLLIN, 0);
  }
  void change(int round) override {
    watch(epoll_, EPOLL_CTL_MOD, ready_.reader, EPOLLIN | EPOLLRDNORM, kData + uint64_t(round));
    watch(epoll_, EPOLL_CTL_MOD, quiet_.reader, EPOLLIN, kData);
  }
  void verify(int round) override {
    expect_event(epoll_, EPOLLIN | EPOLLRDNORM, kData + uint64_t(round));
    watch(epoll_, EPOLL_CTL_MOD, ready_.reader, 0, 0);
    expect_no_event(epoll_);
    write_all(quiet_.writer.get(), "y");
    expect_event(epoll_, EPOLLIN, kData);
    expect_data(quiet_.reader.get(), "pipe", "y");
  }

 private:
  Fd epoll_;
  Pipe ready_, quiet_;
};

// An event that nobody has taken yet, and then new ones. One that was taken may come again, as CRIU begins to
// watch anew: that is allowed, losing one is not.
class EdgeEpoll : public Object {
 public:
  void set_up() override {
    epoll_ = make_epoll();
    for (Pipe* pipe : {&taken_, &waiting_}) *pipe = make_pipe();
    watch(epoll_, EPOLL_CTL_ADD, taken_.reader, EPOLLIN | EPOLLET, kTaken);
    watch(epoll_, EPOLL_CTL_ADD, waiting_.reader, EPOLLIN | EPOLLET, kWaiting);
  }
  void change(int) override {
    write_all(taken_.writer.get(), "x");
    expect_event(epoll_, EPOLLIN, kTaken);
    expect_no_event(epoll_);
    write_all(waiting_.writer.get(), "y");
  }
  void verify(int) override {
    bool is_there = false;
    for (const epoll_event& event : wait_for_events(epoll_, patient(kPatience)))
      is_there |= event.data.u64 == kWaiting;
    expect(is_there, "the event that was waiting is lost");
    expect_no_event(epoll_);
    write_all(taken_.writer.get(), "z");
    expect_event(epoll_, EPOLLIN, kTaken);
    expect_data(taken_.reader.get(), "pipe", "xz");
    expect_data(waiting_.reader.get(), "pipe", "y");
  }

 private:
  static constexpr uint64_t kTaken = kData + 1, kWaiting = kData + 2;
  Fd epoll_;
  Pipe taken_, waiting_;
};

// Has told its one event: it says no more until it is asked again.
class OneShotEpoll : public Object {
 public:
  void set_up() override {
    epoll_ = make_epoll();
    pipe_ = make_pipe();
    write_all(pipe_.writer.get(), "x");
    watch(epoll_, EPOLL_CTL_ADD, pipe_.reader, EPOLLIN | EPOLLONESHOT, kData);
  }
  void change(int) override { expect_event(epoll_, EPOLLIN, kData); }
  void verify(int) override {
    expect_no_event(epoll_);
    watch(epoll_, EPOLL_CTL_MOD, pipe_.reader, EPOLLIN | EPOLLONESHOT, kData);
  }

 private:
  Fd epoll_;
  Pipe pipe_;
};

class NestedEpoll : public Object {
 public:
  void set_up() override {
    for (Fd* epoll : {&inner_, &outer_}) *epoll = make_epoll();
    pipe_ = make_pipe();
    watch(outer_, EPOLL_CTL_ADD, inner_, EPOLLIN, kData + 1);
    watch(inner_, EPOLL_CTL_ADD, pipe_.reader, EPOLLIN, kData + 2);
  }
  void change(int round) override {
    if (round % 2 == 0) write_all(pipe_.writer.get(), "x");
  }
  void verify(int round) override {
    if (round % 2 == 1) {
      expect_no_event(outer_);
      write_all(pipe_.writer.get(), "x");
    }
    expect_event(outer_, EPOLLIN, kData + 1);
    expect_event(inner_, EPOLLIN, kData + 2);
    expect_data(pipe_.reader.get(), "pipe", "x");
  }

 private:
  Fd inner_, outer_;
  Pipe pipe_;
};

// A descriptor that is watched under a number under which it is no longer open; only a copy is.
class RenumberedEpoll : public Object {
 public:
  void set_up() override {}
  void change(int) override {
    epoll_ = make_epoll();
    pipe_ = make_pipe();
    watch(epoll_, EPOLL_CTL_ADD, pipe_.reader, EPOLLIN, kData);
    Fd copy(must(::fcntl(pipe_.reader.get(), F_DUPFD, 50), "F_DUPFD"));
    pipe_.reader = std::move(copy);  // the old number is closed with `copy`
  }
  void verify(int) override {
    expect_no_event(epoll_);
    write_all(pipe_.writer.get(), "x");
    expect_event(epoll_, EPOLLIN, kData);
  }

 private:
  Fd epoll_;
  Pipe pipe_;
};

class EventCounter : public Object {
 public:
  explicit EventCounter(int flags) : flags_(flags) {}
  void set_up() override { counter_ = Fd(must(::eventfd(0, flags_ | EFD_NONBLOCK), "eventfd")); }
  void change(int round) override {
    const uint64_t added = count(round);
    must(::write(counter_.get(), &added, sizeof added), "write");
  }
  void verify(int round) override {
    if (flags_ & EFD_SEMAPHORE) {
      for (uint64_t i = 0; i < count(round); ++i) expect_equal("what a read takes", take(), 1U);
    } else {
      expect_equal("count", take(), count(round));
    }
    expect_equal("what is left", take(), 0U);
  }

 private:
  static uint64_t count(int round) { return 5 + static_cast<uint64_t>(round); }
  uint64_t take() {
    uint64_t value = 0;
    if (::read(counter_.get(), &value, sizeof value) < 0 && errno != EAGAIN) fail_call("read");
    return value;
  }
  int flags_;
  Fd counter_;
};

// More than are brought back as what they are.
class EventSemaphores : public Object {
 public:
  void set_up() override {
    for (int i = 0; i < 257; ++i) all_.emplace_back(must(::eventfd(1, EFD_SEMAPHORE), "eventfd"));
  }
  void change(int) override {}
  void verify(int) override {}

 private:
  std::vector<Fd> all_;
};

// Watches of a file and of a directory. CRIU drops events that nobody has read, so there are none.
class Inotify : public Object {
 public:
  void set_up() override {
    ::mkdir(directory().c_str(), 0755);
    ::unlink((directory() + "/file").c_str());
    write_file(file(), "first");
    watches_ = Fd(must(::inotify_init1(IN_NONBLOCK), "inotify_init1"));
    of_file_ =
        must(::inotify_add_watch(watches_.get(), file().c_str(), IN_MODIFY | IN_ATTRIB), "inotify_add_watch");
    of_directory_ = must(::inotify_add_watch(watches_.get(), directory().c_str(), IN_CREATE | IN_DELETE),
                         "inotify_add_watch");
    info_ = info();
  }
  void change(int) override {
    char events[4096];
    while (::read(watches_.get(), events, sizeof events) > 0) {
    }
  }
  void verify(int round) override {
    expect_nothing_more(watches_.get(), "inotify");
    expect_equal("watches", info(), info_);
    write_all(open_file(file(), O_WRONLY | O_APPEND).get(), "x");
    expect_event(of_file_, IN_MODIFY, "");
    const std::string name = text("file.", round);
    write_file(directory() + "/" + name, "");
    expect_event(of_directory_, IN_CREATE, name);
    ::unlink((directory() + "/" + name).c_str());
    expect_event(of_directory_, IN_DELETE, name);
    expect_nothing_more(watches_.get(), "inotify");
  }

 private:
  static std::string directory() { return in_directory("watched"); }
  static std::string file() { return in_directory("watched-file"); }

  // Numbers and masks of the watches, in an order of ours. The numbers of devices change with every mount.
  std::string info() const {
    const std::string all = read_file(text("/proc/self/fdinfo/", watches_.get()));
    const auto mask_of = [&](int watch) {
      const size_t begin = all.find(text("wd:", watch, " "));
      expect(begin != std::string::npos, text("there is no watch ", watch));
      const size_t mask = all.find("mask:", begin);
      return text("watch ", watch, " ", all.substr(mask, all.find(' ', mask) - mask));
    };
    return mask_of(of_file_) + ", " + mask_of(of_directory_);
  }
  void expect_event(int watch, uint32_t mask, const std::string& name) {
    await_readable(watches_.get(), "event");
    // One at a time: a buffer that takes no second one with a name as long as ours.
    alignas(inotify_event) char data[sizeof(inotify_event) + 16];
    must(::read(watches_.get(), data, sizeof data), "read of an event");
    const auto* event = reinterpret_cast<const inotify_event*>(data);
    expect_equal("watch of the event", event->wd, watch);
    expect_equal("mask of the event", event->mask, mask);
    expect_equal("name of the event", std::string(event->len ? event->name : ""), name);
  }

  Fd watches_;
  int of_file_ = -1, of_directory_ = -1;
  std::string info_;
};

constexpr Kind kKinds[] = {
    {"epoll_level", make<LevelEpoll>},
    {"epoll_edge", make<EdgeEpoll>},
    {"epoll_oneshot", make<OneShotEpoll>},
    {"epoll_nested", make<NestedEpoll>},
    {"epoll_renumbered", make<RenumberedEpoll>},
    {"eventfd", make<EventCounter, 0>},
    {"eventfd_semaphore", make<EventCounter, int(EFD_SEMAPHORE)>},
    {"eventfd_semaphores", make<EventSemaphores>},
    {"inotify", make<Inotify>},
};

}  // namespace

std::span<const Kind> event_objects() { return kKinds; }

}  // namespace probe
