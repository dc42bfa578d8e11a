// File locks: a child finds them held, and taken away when they are given back.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

enum class Wanted { shared, exclusive };

// Each takes its lock of DIRECTORY/NAME, and tries it as another process would.
class Lock : public Object {
 public:
  explicit Lock(const char* name) : name_(name) {}
  void set_up() override {
    write_file(path(), pattern(1000, 1));
    file_ = open_file(path(), O_RDWR);
  }
  void change(int round) override { take(file_, round % 2 ? Wanted::exclusive : Wanted::shared, round); }
  void verify(int round) override {
    const bool is_shared = round % 2 == 0;
    in_child([&] {
      const Fd another = open_file(path(), O_RDWR);
      expect(!try_take(another, Wanted::exclusive, round), "another process can have the lock, too");
      expect_equal("another process can share the lock", try_take(another, Wanted::shared, round), is_shared);
    });
    check(round);
    give_back(file_, round);
    in_child([&] {
      const Fd another = open_file(path(), O_RDWR);
      expect(try_take(another, Wanted::exclusive, round), "it stays locked");
    });
  }

 protected:
  virtual bool try_take(const Fd& file, Wanted wanted, int round) = 0;
  virtual void give_back(const Fd& file, int round) = 0;
  virtual void check(int round) { (void)round; }

  void take(const Fd& file, Wanted wanted, int round) {
    expect(try_take(file, wanted, round), "somebody else has the lock");
  }
  std::string path() const { return in_directory(name_); }

 private:
  const char* name_;

 protected:
  Fd file_;
};

class WholeFileLock : public Lock {
 public:
  WholeFileLock() : Lock("flock") {}

 private:
  bool try_take(const Fd& file, Wanted wanted, int) override {
    if (::flock(file.get(), (wanted == Wanted::shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) fail_call("flock");
    return false;
  }
  void give_back(const Fd& file, int) override { must(::flock(file.get(), LOCK_UN), "flock"); }
};

// Bytes of the file: other ones each round, so that one which stays is seen.
struct flock range_of(short type, int round) {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = 10 + round;
  range.l_len = 5;
  return range;
}

class RangeLock : public Lock {
 public:
  RangeLock(const char* name, int set, int get) : Lock(name), set_(set), get_(get) {}

 private:
  bool try_take(const Fd& file, Wanted wanted, int round) override {
    struct flock range = range_of(wanted == Wanted::shared ? F_RDLCK : F_WRLCK, round);
    if (::fcntl(file.get(), set_, &range) == 0) return true;
    if (errno != EAGAIN && errno != EACCES) fail_call("fcntl");
    return false;
  }
  void give_back(const Fd& file, int round) override {
    struct flock range = range_of(F_UNLCK, round);
    must(::fcntl(file.get(), set_, &range), "fcntl");
  }
  // Whose lock it is, and of which bytes.
  void check(int round) override {
    const int owner = set_ == F_SETLK ? ::getpid() : -1;
    in_child([&] {
      const Fd another = open_file(path(), O_RDWR);
      struct flock whole = {};
      whole.l_type = F_WRLCK;
      must(::fcntl(another.get(), get_, &whole), "fcntl");
      expect_equal("first byte", whole.l_start, 10 + round);
      expect_equal("number of bytes", whole.l_len, 5);
      expect_equal("owner", whole.l_pid, owner);
    });
  }
  int set_, get_;
};

class PosixLock : public RangeLock {
 public:
  PosixLock() : RangeLock("posix-lock", F_SETLK, F_GETLK) {}
};
class OfdLock : public RangeLock {
 public:
  OfdLock() : RangeLock("ofd-lock", F_OFD_SETLK, F_OFD_GETLK) {}
};

// Waits for a lock that another process has, and is given it.
class BlockedLock : public Object {
 public:
  void set_up() override {
    write_file(path(), "");
    file_ = open_file(path(), O_RDWR);
  }
  void change(int) override {
    must(::flock(file_.get(), LOCK_EX), "flock");
    waiter_ = std::make_unique<Partner>(Inherits::nothing, [](int) {
      must(::flock(open_file(path(), O_RDWR).get(), LOCK_EX), "blocked flock");
    });
    waiter_->send(0);
    await("sleep of the waiter", [this] { return process_state(waiter_->pid()) == 'S'; });
    sleep_for(20ms);
  }
  void verify(int) override {
    expect(!is_readable(waiter_->answers()), "the waiter does not wait any more");
    must(::flock(file_.get(), LOCK_UN), "flock");
    waiter_->receive();
  }

 private:
  static std::string path() { return in_directory("awaited-lock"); }
  Fd file_;
  std::unique_ptr<Partner> waiter_;
};

constexpr Kind kKinds[] = {
    {"flock", make<WholeFileLock>},
    {"posix_lock", make<PosixLock>},
    {"ofd_lock", make<OfdLock>},
    {"blocked_lock", make<BlockedLock>},
};

}  // namespace

std::span<const Kind> lock_objects() { return kKinds; }

}  // namespace probe
