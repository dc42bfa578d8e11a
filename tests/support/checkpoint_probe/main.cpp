// A static program that system tests put into a container and then save and restore, again and again: it
// holds one of each kind of kernel object, and says after each round which of them are still what they were.
//
//   checkpoint_probe DIRECTORY [--only NAME,...] [--without NAME,...] [--patience N]   or   checkpoint_probe
//   --list
//
// It writes DIRECTORY/ready, then waits for numbers in DIRECTORY/round. With each new one it verifies all
// objects, brings them into a new state and writes DIRECTORY/result.NUMBER, a line for each:
//
//   ok NAME
//   ok NAME (what there is to say, as "skipped: no /dev/ptmx")
//   FAIL NAME: what was expected and what was found
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

// For all objects of a round together.
constexpr auto kRoundTime = 30s;
constexpr int kTearDown = -1;

std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  for (const auto table :
       {process_objects(), attribute_objects(), credential_objects(), thread_objects(), register_objects(),
        pipe_objects(), unix_socket_objects(), inet_socket_objects(), timer_objects(), clock_objects(),
        event_objects(), signal_objects(), file_objects(), deleted_file_objects(), lock_objects(),
        memory_objects(), shared_memory_objects(), ipc_objects(), terminal_objects()})
    kinds.insert(kinds.end(), table.begin(), table.end());
  return kinds;
}

// Runs in: a process of its own.
class Keeper {
 public:
  explicit Keeper(const Kind& kind) : kind_(kind) {}

  // What there is to say of a round; the first one sets the object up.
  std::string serve(int round) {
    std::string note;
    if (round == kTearDown) {
      if (object_) object_->tear_down();
      return note;
    }
    if (object_) {
      object_->verify(last_round_);
      note = object_->note();
    } else {
      object_ = kind_.make();
      object_->set_up();
    }
    object_->change(round);
    last_round_ = round;
    return note;
  }

 private:
  Kind kind_;
  std::unique_ptr<Object> object_;
  int last_round_ = 0;
};

struct Holder {
  explicit Holder(const Kind& kind_of_object) : kind(kind_of_object) {}

  Kind kind;
  std::unique_ptr<Partner> process;  // none where the object could not be set up
  Answer answer;                     // the last one, which also stands for no answer
  std::string result;                // the line of this round
};

class Probe {
 public:
  explicit Probe(const std::vector<Kind>& kinds) : holders_(kinds.begin(), kinds.end()) {}

  void set_up();
  [[noreturn]] void run();

 private:
  using Holders = std::vector<Holder*>;

  void do_round(int round);
  void set_up_missing(int round);
  void ask(const Holders& holders, int request);
  void take_answer(Holder& holder, Clock::time_point deadline);
  void drop_failed(const Holders& holders);
  Holders all_with_process();
  [[noreturn]] void end();

  std::vector<Holder> holders_;
};

volatile std::sig_atomic_t g_is_told_to_end = 0;

void Probe::set_up() {
  set_up_missing(0);
  write_file(in_directory("ready"), "");
}

std::optional<int> round_to_do() {
  std::string content;
  try {
    content = read_file(in_directory("round"));
  } catch (const Failure&) {  // nobody has written it yet
    return std::nullopt;
  }
  int round = 0;
  const auto parsed = std::from_chars(content.data(), content.data() + content.size(), round);
  if (parsed.ec != std::errc() || round <= 0) return std::nullopt;
  return round;
}

// As the first process of a container it is given all those whose parent has ended. Those it has made are
// waited for where it drops them.
void reap_orphans(const std::vector<Holder>& holders) {
  siginfo_t info = {};
  while (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
    for (const Holder& holder : holders)
      if (holder.process && holder.process->pid() == info.si_pid) return;
    ::waitpid(info.si_pid, nullptr, 0);
    info = {};
  }
}

void Probe::run() {
  for (int last = 0;;) {
    if (g_is_told_to_end) end();
    reap_orphans(holders_);
    if (const std::optional<int> round = round_to_do(); round && *round != last) {
      last = *round;
      do_round(last);
    }
    sleep_for(20ms);
  }
}

std::string result_line(const Holder& holder) {
  const std::string name = holder.kind.name;
  const std::string text = holder.answer.text;
  switch (holder.answer.outcome) {
    case Answer::Outcome::failed:
      return "FAIL " + name + ": " + text;
    case Answer::Outcome::skipped:
      return "ok " + name + " (skipped: " + text + ")";
    case Answer::Outcome::done:
      return "ok " + name + (text.empty() ? "" : " (" + text + ")");
  }
  return "";
}

void Probe::do_round(int round) {
  ask(all_with_process(), round);
  std::string results;
  for (const Holder& holder : holders_) results += result_line(holder) + "\n";
  drop_failed(all_with_process());
  set_up_missing(round);
  const std::string path = in_directory(text("result.", round));
  write_file(path + ".new", results);
  must(::rename((path + ".new").c_str(), path.c_str()), "rename");
}

// In new processes, so that one round's failure says nothing of the next.
void Probe::set_up_missing(int round) {
  Holders missing;
  for (Holder& holder : holders_) {
    if (holder.process || holder.answer.outcome == Answer::Outcome::skipped) continue;
    auto keeper = std::make_shared<Keeper>(holder.kind);
    holder.process =
        std::make_unique<Partner>(Inherits::nothing, [keeper](int asked) { return keeper->serve(asked); });
    missing.push_back(&holder);
  }
  ask(missing, round);
  drop_failed(missing);
}

Probe::Holders Probe::all_with_process() {
  Holders holders;
  for (Holder& holder : holders_)
    if (holder.process) holders.push_back(&holder);
  return holders;
}

void Probe::ask(const Holders& holders, int request) {
  for (Holder* holder : holders) {
    holder->answer = {};
    try {
      holder->process->send(request);
    } catch (const Failure& failure) {  // it has ended; the end of file tells of it
    }
  }
  const auto deadline = Clock::now() + patient(kRoundTime);
  for (Holder* holder : holders) take_answer(*holder, deadline);
}

void Probe::take_answer(Holder& holder, Clock::time_point deadline) {
  pollfd wanted = {holder.process->answers(), POLLIN, 0};
  while (::poll(&wanted, 1, 20) <= 0 && Clock::now() < deadline) {
  }
  if (wanted.revents == 0) {
    holder.answer = make_answer(Answer::Outcome::failed, text("no answer within ", patient(kRoundTime)));
  } else if (const std::optional<Answer> answer = holder.process->read_answer()) {
    holder.answer = *answer;
  } else {
    const std::string status = describe_status(holder.process->wait_status());
    holder.answer = make_answer(Answer::Outcome::failed, "its process has ended: " + status);
  }
}

void kill_tree(pid_t pid) {
  std::string children;
  try {
    children = read_file(text("/proc/", pid, "/task/", pid, "/children"));
  } catch (const Failure&) {  // it has ended
    return;
  }
  for (const char* at = children.c_str(); *at; at = std::strchr(at, ' ') + 1) kill_tree(std::atoi(at));
  ::kill(pid, SIGKILL);
}

void Probe::drop_failed(const Holders& holders) {
  for (Holder* holder : holders) {
    if (holder->answer.outcome == Answer::Outcome::done) continue;
    kill_tree(holder->process->pid());
    holder->process.reset();
  }
}

void Probe::end() {
  ask(all_with_process(), kTearDown);
  for (Holder* holder : all_with_process()) kill_tree(holder->process->pid());
  ::_exit(0);
}

bool is_in_list(const std::string& list, const std::string& name) {
  return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

}  // namespace
}  // namespace probe

int main(int argc, char** argv) {
  using namespace probe;
  std::vector<Kind> kinds = all_kinds();
  std::string directory;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--list") {
      for (const Kind& kind : kinds) std::puts(kind.name);
      return 0;
    }
    if (word == "--only" && i + 1 < argc) {
      std::erase_if(kinds, [list = argv[++i]](const Kind& kind) { return !is_in_list(list, kind.name); });
    } else if (word == "--without" && i + 1 < argc) {
      std::erase_if(kinds, [list = argv[++i]](const Kind& kind) { return is_in_list(list, kind.name); });
    } else if (word == "--patience" && i + 1 < argc) {
      g_patience = std::max(1, std::atoi(argv[++i]));
    } else {
      directory = word;
    }
  }
  if (directory.empty()) {
    std::fputs(
        "usage: checkpoint_probe DIRECTORY [--only NAME,...] [--without NAME,...] [--patience N] | --list\n",
        stderr);
    return 2;
  }
  ::mkdir(directory.c_str(), 0755);
  set_directory(directory);
  for (const int signal : {SIGTERM, SIGINT}) std::signal(signal, [](int) { g_is_told_to_end = 1; });
  std::signal(SIGPIPE, SIG_IGN);
  try {
    Probe probe(kinds);
    probe.set_up();
    probe.run();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "checkpoint_probe: %s\n", failure.what());
    return 1;
  }
}
