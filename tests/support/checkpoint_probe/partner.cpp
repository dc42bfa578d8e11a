#include "partner.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>

namespace probe {
namespace {

// False at the end of file.
bool read_request(int fd, int& request) {
  for (;;) {
    const ssize_t count = ::read(fd, &request, sizeof request);
    if (count == sizeof request) return true;
    if (count >= 0 || errno != EINTR) return false;
  }
}

Answer answer_of(const std::function<std::string(int)>& serve, int request) {
  try {
    return make_answer(Answer::Outcome::done, serve(request));
  } catch (const Skipped& skipped) {
    return make_answer(Answer::Outcome::skipped, skipped.what());
  } catch (const std::exception& failure) {
    return make_answer(Answer::Outcome::failed, failure.what());
  }
}

// Only the standard ones and these two are left.
void close_others(int one, int other) {
  const auto close_between = [](int first, int last) {
    if (first <= last)
      must(::close_range(static_cast<unsigned>(first), static_cast<unsigned>(last), 0), "close_range");
  };
  close_between(3, std::min(one, other) - 1);
  close_between(std::min(one, other) + 1, std::max(one, other) - 1);
  close_between(std::max(one, other) + 1, INT_MAX);
}

}  // namespace

Answer make_answer(Answer::Outcome outcome, const std::string& text) {
  Answer answer;
  answer.outcome = outcome;
  text.copy(answer.text, std::min(text.size(), sizeof answer.text - 1));
  return answer;
}

void Partner::start(Inherits inherits, const std::function<std::string(int)>& serve) {
  requests_ = make_pipe();
  answers_ = make_pipe();
  pid_ = must(::fork(), "fork");
  if (pid_ != 0) {
    requests_.reader.close();
    answers_.writer.close();
    return;
  }
  requests_.writer.close();
  answers_.reader.close();
  if (inherits == Inherits::nothing) close_others(requests_.reader.get(), answers_.writer.get());
  for (const int signal : {SIGTERM, SIGINT}) std::signal(signal, SIG_DFL);
  int request = 0;
  while (read_request(requests_.reader.get(), request)) {
    const Answer answer = answer_of(serve, request);
    if (::write(answers_.writer.get(), &answer, sizeof answer) != sizeof answer) break;
  }
  ::_exit(0);
}

Partner::~Partner() {
  if (pid_ <= 0 || is_reaped_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string Partner::ask(int request) {
  send(request);
  return receive();
}

void Partner::send(int request) {
  must(::write(requests_.writer.get(), &request, sizeof request), "write to the other process");
}

std::string Partner::receive() {
  await_readable(answers(), "answer of the other process");
  const std::optional<Answer> answer = read_answer();
  if (!answer) fail("the other process has ended: " + describe_status(wait_status()));
  if (answer->outcome == Answer::Outcome::skipped) throw Skipped(answer->text);
  if (answer->outcome == Answer::Outcome::failed) fail(answer->text);
  return answer->text;
}

std::optional<Answer> Partner::read_answer() {
  Answer answer;
  const ssize_t count = ::read(answers(), &answer, sizeof answer);
  if (count != sizeof answer) return std::nullopt;
  answer.text[sizeof answer.text - 1] = '\0';
  return answer;
}

void Partner::kill(int signal) { must(::kill(pid_, signal), "kill"); }

int Partner::wait_status() {
  const int status = await_child(pid_);
  is_reaped_ = true;
  return status;
}

void in_child(const std::function<void()>& action) {
  Partner(Inherits::descriptors, [&](int) { action(); }).ask(0);
}

int await_child(pid_t pid) {
  int status = 0;
  await(text("end of process ", pid),
        [&] { return must(::waitpid(pid, &status, WNOHANG), "waitpid") == pid; });
  return status;
}

std::string describe_status(int status) {
  if (WIFEXITED(status)) return text("exit ", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return text("signal ", WTERMSIG(status));
  return text("status ", status);
}

}  // namespace probe
