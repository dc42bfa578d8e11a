// System V and POSIX interprocess communication.
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

#include <cerrno>
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

class PosixQueue : public Object {
 public:
  void set_up() override {
    tear_down();
    mq_attr attributes = {};
    attributes.mq_maxmsg = 5;
    attributes.mq_msgsize = 100;
    queue_ = ::mq_open(name().c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
    if (queue_ < 0 && errno == ENOSYS) throw Skipped("no POSIX queues");
    must(queue_, "mq_open");
  }
  void change(int round) override {
    for (unsigned i = 0; i < 3; ++i) {
      const std::string message = text("message ", i, " of ", round);
      must(::mq_send(queue_, message.data(), message.size(), i), "mq_send");
    }
  }
  void verify(int round) override {
    for (unsigned i = 3; i-- > 0;) {
      char data[100];
      unsigned priority = 0;
      const ssize_t size = must(::mq_receive(queue_, data, sizeof data, &priority), "mq_receive");
      expect_equal("message", std::string(data, static_cast<size_t>(size)),
                   text("message ", i, " of ", round));
      expect_equal("priority", priority, i);
    }
  }
  void tear_down() override { ::mq_unlink(name().c_str()); }

 private:
  static std::string name() { return "/" + unique_name("queue"); }
  mqd_t queue_ = -1;
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
    {"sysv_shared_memory", make<SharedSegments>}, {"sysv_semaphores", make<Semaphores>},
    {"sysv_queue", make<MessageQueue>},           {"posix_queue", make<PosixQueue>},
    {"named_semaphore", make<NamedSemaphore>},
};

}  // namespace

std::span<const Kind> ipc_objects() { return kKinds; }

}  // namespace probe
