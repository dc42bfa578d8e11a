// System V and POSIX interprocess communication.
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "object.h"
#include "service_thread.h"

namespace probe {
namespace {

constexpr size_t kSegment = 200'000;

uint64_t seed(int round) { return static_cast<uint64_t>(round); }

// One that is attached and one that nobody has; each has its number, mode and key.
class SharedSegments : public Object {
 public:
  void set_up() override {
    attached_id_ = must(::shmget(IPC_PRIVATE, kSegment, IPC_CREAT | 0640), "shmget");
    detached_id_ = must(::shmget(key(), kSegment, IPC_CREAT | 0600), "shmget");
    attached_ = attach(attached_id_);
  }
  void change(int round) override {
    fill_pattern(attached_, kSegment, seed(round));
    void* memory = attach(detached_id_);
    fill_pattern(memory, kSegment, seed(round) + 1);
    must(::shmdt(memory), "shmdt");
  }
  void verify(int round) override {
    expect_pattern("attached segment", attached_, kSegment, seed(round));
    expect_equal("attachments of one", status(attached_id_).shm_nattch, 1U);
    expect_equal("mode of one", status(attached_id_).shm_perm.mode & 0777, 0640);
    expect_equal("attachments of the other", status(detached_id_).shm_nattch, 0U);
    expect_equal("number by key", must(::shmget(key(), 0, 0), "shmget"), detached_id_);
    void* memory = attach(detached_id_);
    expect_pattern("detached segment", memory, kSegment, seed(round) + 1);
    must(::shmdt(memory), "shmdt");
  }
  void tear_down() override {
    for (const int id : {attached_id_, detached_id_}) ::shmctl(id, IPC_RMID, nullptr);
  }

 private:
  static key_t key() { return static_cast<key_t>(std::hash<std::string>()(unique_name("segment"))); }
  static void* attach(int id) { return must(::shmat(id, nullptr, 0), "shmat"); }
  static shmid_ds status(int id) {
    shmid_ds found = {};
    must(::shmctl(id, IPC_STAT, &found), "shmctl");
    return found;
  }
  int attached_id_ = -1, detached_id_ = -1;
  void* attached_ = nullptr;
};

class Semaphores : public Object {
 public:
  void set_up() override { id_ = must(::semget(IPC_PRIVATE, kCount, IPC_CREAT | 0600), "semget"); }
  void change(int round) override {
    for (int i = 0; i < kCount; ++i) must(::semctl(id_, i, SETVAL, value(round, i)), "SETVAL");
  }
  void verify(int round) override {
    for (int i = 0; i < kCount; ++i)
      expect_equal(text("semaphore ", i), must(::semctl(id_, i, GETVAL), "GETVAL"), value(round, i));
    sembuf take = {1, static_cast<short>(-value(round, 1)), IPC_NOWAIT};
    must(::semop(id_, &take, 1), "semop");
    take.sem_op = -1;
    expect(::semop(id_, &take, 1) < 0 && errno == EAGAIN, "more than there was can be taken");
  }
  void tear_down() override { ::semctl(id_, 0, IPC_RMID); }

 private:
  static constexpr int kCount = 3;
  static int value(int round, int which) { return 1 + round + 10 * which; }
  int id_ = -1;
};

class MessageQueue : public Object {
 public:
  void set_up() override { id_ = must(::msgget(IPC_PRIVATE, IPC_CREAT | 0600), "msgget"); }
  void change(int round) override {
    for (int i = 0; i < 4; ++i) {
      Message message = {100 + i, {}};
      const std::string content = data(round, i);
      std::memcpy(message.data, content.data(), content.size());
      must(::msgsnd(id_, &message, content.size(), IPC_NOWAIT), "msgsnd");
    }
  }
  void verify(int round) override {
    for (const int i : {2, 0, 1, 3}) {  // by kind, then by order
      Message message = {};
      const ssize_t size =
          must(::msgrcv(id_, &message, sizeof message.data, i == 2 ? 102 : 0, IPC_NOWAIT), "msgrcv");
      expect_equal("kind of a message", message.kind, 100 + i);
      expect(std::string(message.data, static_cast<size_t>(size)) == data(round, i),
             text("message ", i, ": other content"));
    }
    Message message = {};
    expect(::msgrcv(id_, &message, sizeof message.data, 0, IPC_NOWAIT) < 0, "there is one more message");
  }
  void tear_down() override { ::msgctl(id_, IPC_RMID, nullptr); }

 private:
  struct Message {
    long kind;
    char data[3000];
  };
  static std::string data(int round, int which) {
    return pattern(static_cast<size_t>(700 * which), seed(round));
  }
  int id_ = -1;
};

// mq_open(3). With `is_removed` nobody else can open it.
class PosixQueue : public Object {
 public:
  explicit PosixQueue(bool is_removed) : is_removed_(is_removed) {}
  void set_up() override {
    tear_down();
    mq_attr attributes = {};
    attributes.mq_maxmsg = 5;
    attributes.mq_msgsize = 100;
    queue_ = ::mq_open(name().c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0640, &attributes);
    if (queue_ < 0 && errno == ENOSYS) throw Skipped("no POSIX queues");
    must(queue_, "mq_open");
    if (is_removed_) tear_down();
    epoll_ = Fd(must(::epoll_create1(0), "epoll_create1"));
    epoll_event event = {};
    event.events = EPOLLIN;
    must(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, queue_, &event), "epoll_ctl");
  }
  void change(int round) override {
    for (unsigned i = 0; i < 5; ++i) {
      const std::string message = i == 1 ? "" : text("message ", i, " of ", round);
      must(::mq_send(queue_, message.data(), message.size(), i / 2), "mq_send");
    }
  }
  void verify(int round) override {
    epoll_event event = {};
    expect_equal("events", must(::epoll_wait(epoll_.get(), &event, 1, 0), "epoll_wait"), 1);
    expect(::mq_send(queue_, "x", 1, 0) < 0 && errno == EAGAIN, "there is room for one more");
    for (const unsigned i : {4U, 2U, 3U, 0U, 1U}) {
      char data[100];
      unsigned priority = 0;
      const ssize_t size = must(::mq_receive(queue_, data, sizeof data, &priority), "mq_receive");
      expect_equal("message", std::string(data, static_cast<size_t>(size)),
                   i == 1 ? "" : text("message ", i, " of ", round));
      expect_equal("priority", priority, i / 2);
    }
    expect(::mq_send(queue_, std::string(101, 'x').c_str(), 101, 0) < 0 && errno == EMSGSIZE,
           "a longer message fits");
    expect_equal("events", must(::epoll_wait(epoll_.get(), &event, 1, 0), "epoll_wait"), 0);
    const mqd_t same = ::mq_open(name().c_str(), O_RDWR);
    if (is_removed_) return expect(same < 0 && errno == ENOENT, "it has a name again");
    struct stat status = {};
    must(::fstat(must(same, "mq_open"), &status), "fstat");
    expect_equal("mode", status.st_mode & 0777, 0640);
    ::mq_close(same);
  }
  void tear_down() override { ::mq_unlink(name().c_str()); }

 private:
  std::string name() const { return "/" + unique_name(is_removed_ ? "removed" : "queue"); }
  bool is_removed_;
  mqd_t queue_ = -1;
  Fd epoll_;
};

// Two queues that a thread waits for: one that is empty, and one that is full.
class AwaitedQueues : public Object {
 public:
  void set_up() override {
    tear_down();
    empty_ = open_queue(true);
    full_ = open_queue(false);
    must(::mq_send(full_, "first", 5, 0), "mq_send");
  }
  void change(int) override {
    reader_.begin([this] { got_ = receive(empty_); });
    writer_.begin([this] { must(::mq_send(full_, "second", 6, 0), "mq_send"); });
    for (const ServiceThread* thread : {&reader_, &writer_})
      await("sleep of who waits", [thread] { return thread_state(thread->id()) == 'S'; });
  }
  void verify(int) override {
    expect(reader_.is_busy() && writer_.is_busy(), "nobody waits any more");
    must(::mq_send(empty_, "hello", 5, 0), "mq_send");
    reader_.finish();
    expect_equal("message", got_, "hello");
    expect_equal("message", receive(full_), "first");
    writer_.finish();
    expect_equal("message", receive(full_), "second");
    must(::mq_send(full_, "first", 5, 0), "mq_send");
  }
  void tear_down() override {
    for (const bool is_empty : {true, false}) ::mq_unlink(name(is_empty).c_str());
  }

 private:
  static std::string name(bool is_empty) { return "/" + unique_name(is_empty ? "empty" : "full"); }
  static mqd_t open_queue(bool is_empty) {
    mq_attr attributes = {};
    attributes.mq_maxmsg = 1;
    attributes.mq_msgsize = 8;
    const mqd_t queue = ::mq_open(name(is_empty).c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue < 0 && errno == ENOSYS) throw Skipped("no POSIX queues");
    return must(queue, "mq_open");
  }
  static std::string receive(mqd_t queue) {
    char data[8];
    const ssize_t size = must(::mq_receive(queue, data, sizeof data, nullptr), "mq_receive");
    return {data, static_cast<size_t>(size)};
  }
  mqd_t empty_ = -1, full_ = -1;
  std::string got_;
  ServiceThread reader_, writer_;
};

class NotifyingQueue : public Object {
 public:
  void set_up() override {
    tear_down();
    queue_ = ::mq_open(name().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, nullptr);
    if (queue_ < 0 && errno == ENOSYS) throw Skipped("no POSIX queues");
    must(queue_, "mq_open");
    must(::mq_notify(queue_, &nothing_), "mq_notify");
  }
  void change(int) override {}
  void verify(int) override {
    expect(::mq_notify(queue_, &nothing_) < 0 && errno == EBUSY, "nobody is registered any more");
  }
  void tear_down() override { ::mq_unlink(name().c_str()); }

 private:
  static std::string name() { return "/" + unique_name("notifying"); }
  mqd_t queue_ = -1;
  const sigevent nothing_ = [] {
    sigevent event = {};
    event.sigev_notify = SIGEV_NONE;
    return event;
  }();
};

// sem_open(3), with a thread that waits for it.
class NamedSemaphore : public Object {
 public:
  void set_up() override {
    tear_down();
    semaphore_ = ::sem_open(name("value").c_str(), O_CREAT | O_EXCL, 0600, 0);
    awaited_ = ::sem_open(name("awaited").c_str(), O_CREAT | O_EXCL, 0600, 0);
    for (sem_t* semaphore : {semaphore_, awaited_})
      if (semaphore == SEM_FAILED) fail_call("sem_open");
  }
  void change(int round) override {
    for (int i = 0; i < 3 + round % 5; ++i) must(::sem_post(semaphore_), "sem_post");
    waiter_.begin([this] {
      while (::sem_wait(awaited_) != 0)
        if (errno != EINTR) fail_call("sem_wait");
    });
    await("sleep of the waiter", [this] { return thread_state(waiter_.id()) == 'S'; });
  }
  void verify(int round) override {
    int value = 0;
    must(::sem_getvalue(semaphore_, &value), "sem_getvalue");
    expect_equal("value", value, 3 + round % 5);
    while (::sem_trywait(semaphore_) == 0) {
    }
    expect(waiter_.is_busy(), "the waiter does not wait any more");
    sem_t* same = ::sem_open(name("awaited").c_str(), 0);
    if (same == SEM_FAILED) fail_call("sem_open");
    must(::sem_post(same), "sem_post");
    must(::sem_close(same), "sem_close");
    waiter_.finish();
  }
  void tear_down() override {
    for (const char* which : {"value", "awaited"}) ::sem_unlink(name(which).c_str());
  }

 private:
  static std::string name(const std::string& which) { return "/" + unique_name(which); }
  sem_t* semaphore_ = SEM_FAILED;
  sem_t* awaited_ = SEM_FAILED;
  ServiceThread waiter_;
};

constexpr Kind kKinds[] = {
    {"sysv_shared_memory", make<SharedSegments>},
    {"sysv_semaphores", make<Semaphores>},
    {"sysv_queue", make<MessageQueue>},
    {"posix_queue", make<PosixQueue, false>},
    {"posix_queue_removed", make<PosixQueue, true>},
    {"posix_queue_awaited", make<AwaitedQueues>},
    {"posix_queue_notification", make<NotifyingQueue>},
    {"named_semaphore", make<NamedSemaphore>},
};

}  // namespace

std::span<const Kind> ipc_objects() { return kKinds; }

}  // namespace probe
