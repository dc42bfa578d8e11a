// POSIX message queues in checkpoints: what is in them, whose they are, and what happens to them where a save
// fails. That descriptors of them survive is checkpoint_objects_test.cpp's.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <linux/capability.h>
#include <sys/prctl.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "tests/support/criu.h"
#include "tests/support/evil_checkpoint.h"
#include "tests/support/pty_program.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

std::string with_queues() { return mount_entry(built_program("container_queues"), "/queues"); }

std::string idle() { return shell("while :; do sleep 1; done") + "[[network]]\nmode = \"none\"\n"; }

bool may_raise_limits() { return ::prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1; }

// Names, modes, owners and sizes of messages; not the times.
std::string list_queues(const Installation& installation, const std::string& name) {
  return answer(installation, name,
                "cd /dev/mqueue; stat -c '%n %a %u %g' *; for queue in *; do cut -d ' ' -f 1 $queue; done");
}

// Takes what is in it.
std::string messages_of(const Installation& installation, const std::string& name, const std::string& queue) {
  const Result taken = inside(installation, name, "/queues take " + queue);
  CHECK_MESSAGE(taken.status == 0, taken.errors);
  return taken.out;
}

void fill(const Installation& installation, const std::string& name, const std::string& queue) {
  const Result sent = inside(installation, name, "/queues send " + queue + " 9 1000");
  CHECK_MESSAGE(sent.status == 0, sent.errors);
}

}  // namespace

TEST_CASE("queues keep their messages in order, their owners, bounds and rights") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", idle() + with_queues() + "[limits]\nmsgqueue = \"300K\"\n");
  CHECK(inside(installation, "box",
               "echo 25 > /proc/sys/fs/mqueue/msg_max; /queues make /wide 25 8192 1000 && "
               "/queues make /own 9 1000 && chmod 4711 /dev/mqueue/own && /queues make /empty 1 1")
            .status == 0);
  fill(installation, "box", "/own");
  CHECK(inside(installation, "box", "/queues send /wide 20 8000").status == 0);
  const std::string before = list_queues(installation, "box");
  CHECK_MESSAGE(before.contains("own 4711 0 0"), before);
  CHECK_MESSAGE(before.contains("wide 640 1000 0"), before);
  CHECK_MESSAGE(before.contains("QSIZE:160000"), before);

  installation.holm_ok({"checkpoint", "box", "early"});
  CHECK(list_queues(installation, "box") == before);  // it runs on with all of them
  suspend_and_go_on(installation, "box");
  CHECK(list_queues(installation, "box") == before);
  installation.holm_ok({"clone", "--live", "box", "copy"});
  CHECK(list_queues(installation, "copy") == before);

  const std::string own = messages_of(installation, "box", "/own"),
                    wide = messages_of(installation, "box", "/wide");
  CHECK(std::ranges::count(own, '\n') == 9);
  CHECK_MESSAGE(own.starts_with("1000 2 "), own);
  CHECK(messages_of(installation, "copy", "/own") == own);
  CHECK(messages_of(installation, "copy", "/wide") == wide);
  CHECK(messages_of(installation, "box", "/own").empty());

  // Another such one is beyond its owner's limit, by which the first counts, and not beyond other users'.
  for (const std::string name : {"box", "copy"}) {
    CAPTURE(name);
    CHECK(inside(installation, name, "/queues make /more 25 8192 1000").errors == "mq_open: EMFILE\n");
    CHECK(inside(installation, name, "/queues make /more 25 8192 1001; rm /dev/mqueue/more").status == 0);
    CHECK(inside(installation, name, "rm /dev/mqueue/wide; /queues make /more 25 8192 1000").status == 0);
  }
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box", "early"});
  CHECK(list_queues(installation, "box") == before);
  CHECK(messages_of(installation, "box", "/own") == own);
  CHECK(messages_of(installation, "box", "/wide") == wide);
}

// The kernel keeps some hundred KiB of what a group has given back, by CPU: one look is not enough where
// queues may have no more.
TEST_CASE("the memory of messages is the container's, also after it was saved and restored") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  HOLM_REQUIRES("a host without CAP_SYS_RESOURCE", !may_raise_limits());
  constexpr int kRounds = 5;
  const Installation installation;
  installation.start("box", idle() + with_queues());
  CHECK(
      inside(installation, "box", "echo 65536 > /proc/sys/fs/mqueue/msgsize_max; /queues make /big 10 65536")
          .status == 0);
  const auto memory = [&] { return listed(installation, "box").at("memory_bytes").get<int64_t>(); };
  const std::vector<std::function<void()>> ways = {[] {},
                                                   [&] {
                                                     installation.holm_ok({"checkpoint", "box"});
                                                   },
                                                   [&] { suspend_and_go_on(installation, "box"); }};
  for (const auto& go_through : ways) {
    int64_t freed = 0;
    for (int round = 0; round < kRounds; ++round) {
      CHECK(inside(installation, "box", "/queues send /big 10 65536").status == 0);
      go_through();
      freed += memory();
      CHECK(std::ranges::count(messages_of(installation, "box", "/big"), '\n') == 10);
      freed -= memory();
    }
    CHECK_MESSAGE(freed > kRounds * 655'360 / 2, freed);
  }
}

TEST_CASE("one container's queues take nothing of the room that another has for its own") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  HOLM_REQUIRES("CAP_SYS_RESOURCE", may_raise_limits());
  const Installation installation;
  const std::vector<std::string> names = {"one", "two", "three"};
  for (const std::string& name : names) installation.start(name, idle() + with_queues());
  const auto fills_up = [&](const std::string& name, const std::string& queue) {
    return inside(installation, name,
                  "/queues make " + queue + " 10 8192 && /queues send " + queue + " 10 8192");
  };
  for (int number = 0; number < 8; ++number)  // of 800 KiB, which a user may have
    for (const std::string& name : names) {
      const Result result = fills_up(name, "/q" + std::to_string(number));
      CHECK_MESSAGE(result.status == 0, name, " ", number, " ", result.errors);
    }
  for (const std::string& name : names) {
    suspend_and_go_on(installation, name);
    const Result result = fills_up(name, "/last");
    CHECK_MESSAGE(result.status == 0, name, " ", result.errors);
    CHECK(fills_up(name, "/beyond").errors == "mq_open: EMFILE\n");
  }
}

TEST_CASE("a save that fails or is killed leaves all messages where they were") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", idle() + with_queues());
  CHECK(inside(installation, "box", "/queues make /jobs 9 1000").status == 0);
  fill(installation, "box", "/jobs");
  const std::string before = list_queues(installation, "box");
  for (const char* fault :
       {"error:save the message queues", "error:name the message queues", "error:write the manifest",
        "kill:save the message queues", "kill:note the time"}) {
    CAPTURE(fault);
    CHECK(installation.holm({"checkpoint", "box"}, {{"HOLM_FAULT", fault}}).status != 0);
    CHECK(eventually([&] { return installation.column("box", "state") == "running"; }));
    CHECK(list_queues(installation, "box") == before);
  }
  const std::string taken = messages_of(installation, "box", "/jobs");
  CHECK(std::ranges::count(taken, '\n') == 9);
  fill(installation, "box", "/jobs");
  suspend(installation, "box");
  for (const char* fault :
       {"error:make its message queues", "error:let it run", "kill:make its message queues"}) {
    CAPTURE(fault);
    CHECK(installation.holm({"start", "box"}, {{"HOLM_FAULT", fault}}).status != 0);
    REQUIRE(installation.column("box", "state") == "suspended");
  }
  go_on(installation, "box");
  CHECK(messages_of(installation, "box", "/jobs") == taken);
}

// While they are out: one of the two processes that know them is killed.
TEST_CASE("messages that were taken out come back whoever is killed, and keep their order") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", idle() + with_queues());
  CHECK(inside(installation, "box", "/queues make /jobs 9 1000").status == 0);
  fill(installation, "box", "/jobs");
  const std::string taken = messages_of(installation, "box", "/jobs");
  fill(installation, "box", "/jobs");
  // The child: the save goes on without it.
  const Result saved = installation.holm({"checkpoint", "box"}, {{"HOLM_FAULT", "kill:put messages back"}});
  CHECK_MESSAGE(saved.status == 0, saved.errors);
  CHECK(messages_of(installation, "box", "/jobs") == taken);
  fill(installation, "box", "/jobs");
  // The command, with all of its group.
  PtyProgram command({holm_program(), "checkpoint", "box"}, [&] {
    auto environment = installation.environment();
    environment["HOLM_FAULT"] = "stop:put messages back";
    return environment;
  }());
  const auto state_file = [](const std::string& pid) { return "/proc/" + pid + "/stat"; };
  const auto stopped_child = [&]() -> pid_t {
    const std::string wanted = fmt::format(") T {} ", command.pid());
    for (const std::string& entry : list_directory("/proc")) {
      bool is_it = false;
      ignore_errors([&] {  // it ended
        is_it = parse_unsigned(entry) && read_file(state_file(entry)).contains(wanted);
      });
      if (is_it) return static_cast<pid_t>(*parse_unsigned(entry));
    }
    return 0;
  };
  pid_t child = 0;
  REQUIRE_MESSAGE(eventually([&] { return (child = stopped_child()) != 0; }), command.screen());
  ::kill(-command.pid(), SIGKILL);
  CHECK(command.wait() == 128 + SIGKILL);
  ::kill(child, SIGCONT);
  CHECK(eventually([&] { return !sys::exists(state_file(std::to_string(child))); }));
  CHECK(eventually([&] { return installation.column("box", "state") == "running"; }));
  CHECK(messages_of(installation, "box", "/jobs") == taken);
  installation.holm_ok({"gc"});
}

TEST_CASE("queues for which there is little memory left are saved in it, and nobody is killed for it") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  HOLM_REQUIRES("CAP_SYS_RESOURCE", may_raise_limits());
  const Installation installation;
  installation.start("box", shell("i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; done") +
                                "[[network]]\nmode = \"none\"\n" + with_queues() +
                                "[limits]\nmsgqueue = \"64M\"\n[memory]\nlimit = \"48M\"\n");
  CHECK(inside(installation, "box",
               "echo 1048576 > /proc/sys/fs/mqueue/msgsize_max; echo 32 > /proc/sys/fs/mqueue/msg_max; "
               "/queues make /big 32 1048576 && /queues send /big 32 1048576")
            .status == 0);
  const auto are_charged = [&] {
    return listed(installation, "box").at("memory_bytes").get<uint64_t>() > 32 << 20;
  };
  CHECK(are_charged());
  for (int round = 0; round < 3; ++round) {
    installation.holm_ok({"checkpoint", "box"});
    CHECK(are_charged());
    suspend_and_go_on(installation, "box");
    CHECK(are_charged());
    CHECK(counts_beyond(installation, "box", counted(installation, "box")));
  }
  CHECK(listed(installation, "box").at("oom_kills") == 0);
  CHECK(std::ranges::count(messages_of(installation, "box", "/big"), '\n') == 32);
}

TEST_CASE("an open queue by whose mount it could not be opened again is refused beforehand") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", shell("/queues make /held 4 16 && exec /queues hold /held") +
                                "[[network]]\nmode = \"none\"\n" + with_queues());
  const std::string descriptors = fmt::format("/proc/{}/fd", installation.pid_of("box"));
  REQUIRE(eventually([&] { return run_host({"ls", "-l", descriptors}).out.contains("/held"); }));
  const auto is_refused = [&] {
    return installation.holm({"check", "box"}).out.contains("a message queue without a mount");
  };
  CHECK_FALSE(is_refused());
  CHECK(inside(installation, "box", "mount -o remount,ro,bind /dev/mqueue").status == 0);
  CHECK(is_refused());
  CHECK(installation.holm({"checkpoint", "box"}).status == 1);
  CHECK(inside(installation, "box", "mount -o remount,rw,bind /dev/mqueue; mount -t tmpfs x /dev/mqueue")
            .status == 0);
  CHECK(is_refused());
  CHECK(inside(installation, "box", "umount /dev/mqueue").status == 0);
  installation.holm_ok({"checkpoint", "box"});
}

TEST_CASE("queues that come and go meanwhile hold no save up, and are whole") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", shell("/queues churn 3600; echo $? > /root/ended; sleep 1000") +
                                "[[network]]\nmode = \"none\"\n" + with_queues());
  const auto goes_on = [&](const std::string& name) {
    return answer(installation, name, "cat /root/ended 2>/dev/null; pidof queues > /dev/null && echo runs");
  };
  CHECK(eventually([&] { return goes_on("box") == "runs"; }));
  for (int round = 0; round < 4; ++round) {
    installation.holm_ok({"checkpoint", "box"});
    CHECK(goes_on("box") == "runs");
    suspend_and_go_on(installation, "box");
    CHECK(goes_on("box") == "runs");
  }
}

TEST_CASE("queues of a tampered checkpoint are refused, or no more than its root could make") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  const std::string part = "images/message-queues.img";
  const auto make_evil = [&](const std::string& name, uint64_t uid, uint64_t messages, uint64_t copies) {
    ImageMessage queue("");
    queue.set(1, name);
    const uint64_t values[] = {0, 43, 0600, uid, 0, messages, 10};
    for (uint64_t field = 2; field < 9; ++field) queue.set(field, values[field - 2]);
    std::string image = "HMQ1";
    for (const std::string bytes = queue.text(); copies > 0; --copies) {
      const auto size = static_cast<uint32_t>(bytes.size());
      image.append(reinterpret_cast<const char*>(&size), sizeof size).append(bytes);
    }
    scene.make_evil();
    replace_file(scene.evil() + "/" + part, image);
    scene.change_manifest([&](json& manifest) {
      manifest["parts"].push_back({{"path", part}, {"size", 0}, {"digest", ""}});
    });
    scene.digest_anew();
  };
  make_evil("../../etc/x", 0, 5, 1);
  scene.refuses_at_once("message queue '../../etc/x' of the checkpoint is none");
  make_evil("x", 0, 0, 1);
  scene.refuses_at_once("is none");
  make_evil("x", 0, 5, 100'000);
  scene.refuses_at_once("too many message queues");
  make_evil("x", 5'000'000, 5, 1);
  scene.refuses("message queue 'x': become its owner");
  make_evil("x", 0, 5, 2);
  scene.refuses("message queue 'x': make it: File exists");
  make_evil("x", 0, 1000, 1);  // msg_max is 10
  scene.refuses("message queue 'x': make it: Invalid argument");
  make_evil("x", 0, 5, 1);
  scene.restores_tamed();
}
