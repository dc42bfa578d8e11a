// Pipes and FIFOs, with what was written and not read yet.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

void expect_empty(int fd) {
  char byte = 0;
  errno = 0;
  expect_equal("read of an empty pipe", ::read(fd, &byte, 1), -1);
  expect_equal("errno of a read of an empty pipe", errno, EAGAIN);
}

// More in it than a pipe takes by default.
class PipeWithData : public Object {
 public:
  void set_up() override {
    pipe_ = make_pipe();
    must(::fcntl(pipe_.writer.get(), F_SETPIPE_SZ, kCapacity), "F_SETPIPE_SZ");
  }
  void change(int round) override { write_all(pipe_.writer.get(), pattern(size(round), seed(round))); }
  void verify(int round) override {
    expect_equal("capacity", must(::fcntl(pipe_.reader.get(), F_GETPIPE_SZ), "F_GETPIPE_SZ"), kCapacity);
    int unread = 0;
    must(::ioctl(pipe_.reader.get(), FIONREAD, &unread), "FIONREAD");
    expect_equal("unread bytes", unread, size(round));
    expect_data(pipe_.reader.get(), "pipe", pattern(size(round), seed(round)));
    expect_nothing_more(pipe_.reader.get(), "pipe");
  }

 private:
  static constexpr int kCapacity = 256 * 1024;
  static size_t size(int round) { return 100'001 + static_cast<size_t>(round); }
  static uint64_t seed(int round) { return static_cast<uint64_t>(round); }
  Pipe pipe_;
};

// One end does not block, the other does.
class NonBlockingPipe : public Object {
 public:
  void set_up() override {
    pipe_ = make_pipe();
    must(::fcntl(pipe_.reader.get(), F_SETFL, O_NONBLOCK), "F_SETFL");
  }
  void change(int) override {}
  void verify(int round) override {
    const auto flags = [](const Fd& fd) { return must(::fcntl(fd.get(), F_GETFL), "F_GETFL") & O_NONBLOCK; };
    expect_equal("O_NONBLOCK of the reading end", flags(pipe_.reader), O_NONBLOCK);
    expect_equal("O_NONBLOCK of the writing end", flags(pipe_.writer), 0);
    expect_empty(pipe_.reader.get());
    write_all(pipe_.writer.get(), text("round ", round));
    expect_data(pipe_.reader.get(), "pipe", text("round ", round));
  }

 private:
  Pipe pipe_;
};

// O_DIRECT: each read takes one write.
class PacketPipe : public Object {
 public:
  void set_up() override { pipe_ = make_pipe(O_DIRECT | O_NONBLOCK); }
  void change(int round) override {
    for (const int length : {1, 10, 3}) write_all(pipe_.writer.get(), packet(length, round));
  }
  void verify(int round) override {
    for (const int length : {1, 10, 3}) {
      char data[100];
      const ssize_t count = must(::read(pipe_.reader.get(), data, sizeof data), "read");
      expect_equal("packet", std::string(data, static_cast<size_t>(count)), packet(length, round));
    }
    expect_empty(pipe_.reader.get());
  }

 private:
  static std::string packet(int length, int round) {
    return std::string(static_cast<size_t>(length), static_cast<char>('a' + round % 26));
  }
  Pipe pipe_;
};

// The other end of one is closed, with data left; that of another without a reader.
class ClosedPipe : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    without_writer_ = make_pipe();
    write_all(without_writer_.writer.get(), text("last words of ", round));
    without_writer_.writer.close();
    without_reader_ = make_pipe();
    without_reader_.reader.close();
  }
  void verify(int round) override {
    expect_data(without_writer_.reader.get(), "closed pipe", text("last words of ", round));
    expect_end_of_file(without_writer_.reader.get(), "closed pipe");
    errno = 0;
    expect_equal("write without a reader", ::write(without_reader_.writer.get(), "x", 1), -1);
    expect_equal("errno of a write without a reader", errno, EPIPE);
  }

 private:
  Pipe without_writer_, without_reader_;
};

class NamedPipe : public Object {
 public:
  void set_up() override {
    ::unlink(path().c_str());
    must(::mkfifo(path().c_str(), 0600), "mkfifo");
    reader_ = open_file(path(), O_RDONLY | O_NONBLOCK);
    writer_ = open_file(path(), O_WRONLY);
  }
  void change(int round) override { write_all(writer_.get(), text("round ", round)); }
  void verify(int round) override {
    const Fd another = open_file(path(), O_WRONLY | O_NONBLOCK);
    write_all(another.get(), " and another");
    expect_data(reader_.get(), "named pipe", text("round ", round, " and another"));
    expect_empty(reader_.get());
  }

 private:
  static std::string path() { return in_directory("fifo"); }
  Fd reader_, writer_;
};

// A child waits in read(2), which must not return before there is data.
class BlockedRead : public Object {
 public:
  void set_up() override {}
  void change(int) override {
    pipe_ = make_pipe();
    child_.emplace(Inherits::descriptors, [this](int) {
      char data[100];
      const ssize_t count = must(::read(pipe_.reader.get(), data, sizeof data), "blocked read");
      return std::string(data, static_cast<size_t>(count));
    });
    child_->send(0);
    await("sleep of the child", [this] { return process_state(child_->pid()) == 'S'; });
    sleep_for(20ms);  // so that it is asleep in this read and not in the one before
  }
  void verify(int round) override {
    expect(!is_readable(child_->answers()), "the read has returned: " + answer_or_end());
    write_all(pipe_.writer.get(), text("data of ", round));
    expect_equal("data", child_->receive(), text("data of ", round));
  }

 private:
  std::string answer_or_end() { return is_readable(child_->answers()) ? child_->receive() : ""; }

  Pipe pipe_;
  std::optional<Partner> child_;
};

constexpr Kind kKinds[] = {
    {"pipe", make<PipeWithData>},       {"pipe_nonblocking", make<NonBlockingPipe>},
    {"pipe_packets", make<PacketPipe>}, {"pipe_closed", make<ClosedPipe>},
    {"fifo", make<NamedPipe>},          {"blocked_read", make<BlockedRead>},
};

}  // namespace

std::span<const Kind> pipe_objects() { return kKinds; }

}  // namespace probe
