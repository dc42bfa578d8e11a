// A second process that does what it is asked for.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "object.h"

namespace probe {

enum class Inherits { nothing, descriptors };

struct Answer {
  enum class Outcome : int { done, failed, skipped } outcome = Outcome::done;
  char text[600] = {};  // below PIPE_BUF: written and read at once
};

Answer make_answer(Answer::Outcome outcome, const std::string& text);

class Partner {
 public:
  // `serve` runs in the new process for each number it is sent; the text that it returns or throws is the
  // answer.
  template <class Serve>
  Partner(Inherits inherits, Serve serve) {
    if constexpr (std::is_void_v<std::invoke_result_t<Serve, int>>) {
      start(inherits, [&](int request) {
        serve(request);
        return std::string();
      });
    } else {
      start(inherits, serve);
    }
  }
  ~Partner();
  Partner(const Partner&) = delete;
  Partner& operator=(const Partner&) = delete;

  // Sends and receives. Throws the Failure that was thrown there.
  std::string ask(int request);

  void send(int request);
  std::string receive();
  // Where an answer, or the end of the process, can be read.
  int answers() const { return answers_.reader.get(); }
  // Empty where the process has ended.
  std::optional<Answer> read_answer();

  void kill(int signal);
  // How it ended, as waitpid(2) says; it must have been killed or told to.
  int wait_status();
  pid_t pid() const { return pid_; }

 private:
  void start(Inherits inherits, const std::function<std::string(int)>& serve);

  pid_t pid_ = -1;
  bool is_reaped_ = false;
  Pipe requests_, answers_;
};

// Runs it in a process that inherits the descriptors, and ends it.
void in_child(const std::function<void()>& action);

// waitpid(2) with a time limit.
int await_child(pid_t pid);

std::string describe_status(int status);

}  // namespace probe
