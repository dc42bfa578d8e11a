// A thread that does what it is asked for; between requests it waits in a futex.
#pragma once

#include <functional>
#include <memory>

namespace probe {

class ServiceThread {
 public:
  ServiceThread();
  ~ServiceThread();
  ServiceThread(const ServiceThread&) = delete;
  ServiceThread& operator=(const ServiceThread&) = delete;

  // Throws the Failure that was thrown there, or one where it does not end in time.
  void ask(std::function<void()> action);
  // Begins it; ask() is the next that waits.
  void begin(std::function<void()> action);
  bool is_busy() const;
  void finish();
  int id() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// The state of one of this process's threads, as "S" where it sleeps.
char thread_state(int thread);

}  // namespace probe
