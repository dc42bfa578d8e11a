// What CRIU refuses, decided on the kernel's texts.
#include "checkpoint/preflight.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "checkpoint/preflight_files.h"
#include "checkpoint/preflight_host.h"
#include "checkpoint/preflight_memory.h"
#include "checkpoint/preflight_mounts.h"
#include "checkpoint/preflight_processes.h"
#include "checkpoint/preflight_sockets.h"

using namespace holm::checkpoint;

namespace {

Task task_of(std::string_view extra = "", std::string_view state = "S (sleeping)", int threads = 1) {
  const auto task = parse_task("Name:\tprog\nState:\t" + std::string(state) + "\nPid:\t100\n" + "Threads:\t" +
                               std::to_string(threads) + "\n" + std::string(extra));
  REQUIRE(task);
  return *task;
}

std::vector<std::string> objects(const std::vector<Finding>& findings) {
  std::vector<std::string> names;
  for (const Finding& finding : findings) names.push_back(finding.object);
  return names;
}

std::vector<std::string> objects(const Findings& findings) {
  std::vector<std::string> names;
  for (const FindingOf& one : findings) names.push_back(one.finding.object);
  std::ranges::sort(names);
  return names;
}

using Names = std::vector<std::string>;

constexpr const char* kMounts =
    "157 126 0:46 / / rw - overlay none rw,lowerdir=/l\n"
    "159 157 0:48 / /proc rw - proc none rw\n"
    "276 159 0:48 /sys /proc/sys ro - proc none rw\n"
    "165 157 0:37 /holm/1 /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd\n"
    "192 157 0:6 /null /dev/null rw - devtmpfs devtmpfs rw\n"
    "125 157 254:0 /srv /data rw,idmapped - ext4 /dev/vda rw\n";

std::vector<MountNamespace> mounts_with(const std::string& more) {
  return {{1, parse_listed_mounts(kMounts + more)}};
}
Names refused(const std::string& more) {
  return objects(judge_mounts(mounts_with(more), {"/dev/null", "/data"}));
}

FileRules rules() {
  FileRules rules;
  rules.mounts = index_mounts(mounts_with(""));
  rules.shared_memory = ::makedev(0, 1);
  rules.namespaces = {4026531001};
  rules.console = "tty[8802:1a]";
  return rules;
}

}  // namespace

TEST_CASE("a process is read from its status, and a name cannot pretend to be a line") {
  const auto task = parse_task(
      "Name:\tevil\\nPid: 7\nState:\tS (sleeping)\nPid:\t4711\nPPid:\t1\nTracerPid:\t12\nUid:\t0\t0\t0\t5\n"
      "Gid:\t0\t0\t0\t0\nNSpid:\t4711\t33\t2\nNSsid:\t0\t0\t0\nVmSize:\t  1234 kB\nThreads:\t3\n");
  REQUIRE(task);
  CHECK(task->pid == 4711);
  CHECK(task->inside == std::vector<pid_t>{4711, 33, 2});
  CHECK(task->tracer == 12);
  CHECK(task->threads == 3);
  CHECK(task->memory_size == 1234);
  CHECK_FALSE(task->has_session);
  CHECK(task->is_root_on_host);
  CHECK_FALSE(parse_task(""));
  CHECK_FALSE(parse_task("State:\tS\n"));
  CHECK(parse_task("Name:\ta\x1b[31m\nState:\tS\nPid:\t3\n")->program == "a\\x1b[31m");
}

TEST_CASE("links of the kernel's objects are told from paths that look alike") {
  CHECK(object_number("uts:[4026531838]", "uts") == 4026531838);
  CHECK(object_number("socket:[7]", "socket") == 7);
  CHECK_FALSE(object_number("/socket:[7]", "socket"));
  CHECK_FALSE(object_number("socket:[7] (deleted)", "socket"));
  CHECK_FALSE(object_number("socket:[]", "socket"));
  CHECK_FALSE(object_number("", ""));
}

TEST_CASE("an ordinary process, a zombie and a stopped one are fine") {
  const ProcessRules rules;
  const Task init = task_of();
  CHECK(judge_task(task_of(), init, rules).empty());
  CHECK(judge_task(task_of("", "Z (zombie)"), init, rules).empty());
  CHECK(judge_task(task_of("", "T (stopped)", 4), init, rules).empty());
}

TEST_CASE("what CRIU refuses of a process is told") {
  const ProcessRules rules;
  const Task init = task_of();
  CHECK(objects(judge_task(task_of("TracerPid:\t5\n"), init, rules)) == Names{"tracer"});
  CHECK(objects(judge_task(task_of("", "Z (zombie)", 2), init, rules)) == Names{"first thread"});
  CHECK(objects(judge_task(task_of("NSsid:\t9\t0\n"), init, rules)) == Names{"session"});
  const auto waits = judge_task(task_of("", "D (disk sleep)"), init, rules);
  REQUIRE(waits.size() == 1);
  CHECK(waits[0].severity == Severity::delay);
}

TEST_CASE("nested mount and network namespaces are fine, others are told once each") {
  Task init = task_of();
  for (const char* type :
       {"mnt", "net", "uts", "user", "time", "time_for_children", "pid", "pid_for_children"})
    init.namespaces[type] = 1;
  Task task = init;
  task.namespaces["mnt"] = task.namespaces["net"] = 2;
  CHECK(judge_task(task, init, {}).empty());
  task.namespaces["uts"] = task.namespaces["time"] = task.namespaces["time_for_children"] = 2;
  CHECK(objects(judge_task(task, init, {})) == Names{"time namespace", "uts namespace"});
  task = init;
  task.namespaces["time_for_children"] = 2;
  CHECK(objects(judge_task(task, init, {})) == Names{"time namespace"});
  task = init;
  task.namespaces["pid_for_children"] = 2;
  REQUIRE(judge_task(task, init, {}).size() == 1);
  CHECK(judge_task(task, init, {})[0].severity == Severity::warning);
}

TEST_CASE("limits of other users need a user namespace or a capability") {
  const Task other = task_of("Uid:\t5\t5\t5\t5\nGid:\t0\t0\t0\t0\n"), init = task_of();
  CHECK(objects(judge_task(other, init, {false, false})) == Names{"resource limits"});
  CHECK(judge_task(other, init, {true, false}).empty());
  CHECK(judge_task(other, init, {false, true}).empty());
  CHECK(judge_task(init, init, {false, false}).empty());
}

TEST_CASE("a stopped process is refused where nothing but v1's freezer stops the others") {
  const ProcessRules rules = {.has_v1_freezer = true};
  const Task init = task_of();
  CHECK(objects(judge_task(task_of("", "T (stopped)"), init, rules)) == Names{"stopped process"});
  CHECK(judge_task(task_of("", "S (sleeping)"), init, rules).empty());
}

TEST_CASE("mounts that the restore can make again are fine") {
  CHECK(refused("") == Names{});
  CHECK(refused("300 157 0:80 / /run rw shared:5 - tmpfs none rw\n"
                "301 157 0:80 /x /mnt rw master:5 - tmpfs none rw\n") == Names{});
  CHECK(refused("300 157 0:46 /etc /mnt rw - overlay none rw\n") == Names{});        // of the root
  CHECK(refused("300 157 254:0 /srv/sub /mnt rw - ext4 /dev/vda rw\n") == Names{});  // of what is external
}

TEST_CASE("mounts that CRIU refuses are told with their place and kind") {
  CHECK(refused("300 157 0:80 / /mnt rw - ramfs none rw\n") == Names{"mount '/mnt' (ramfs)"});
  CHECK(refused("300 157 0:80 / /mnt rw - fuse x rw\n") == Names{"mount '/mnt' (fuse)"});
  CHECK(refused("300 157 0:80 / /mnt rw - fuse.sshfs x rw\n") == Names{"mount '/mnt' (fuse.sshfs)"});
  CHECK(refused("300 157 0:4 net:[402] /run/n rw - nsfs nsfs rw\n") == Names{"mount '/run/n' (nsfs)"});
  CHECK(refused("300 157 0:80 /part /mnt rw - tmpfs none rw\n") == Names{"mount '/mnt' (tmpfs)"});
  CHECK(refused("300 157 254:0 /srv2 /mnt rw - ext4 /dev/vda rw\n") == Names{"mount '/mnt' (ext4)"});
  CHECK(refused("300 157 0:80 / /mnt rw master:77 - tmpfs none rw\n") == Names{"mount '/mnt' (tmpfs)"});
  CHECK(refused("300 157 0:80 / /t rw - tracefs none rw\n301 300 0:81 / /t/x rw - tmpfs none rw\n") ==
        Names{"mount '/t/x' (tmpfs)"});
  CHECK(refused("300 157 0:80 / /a rw - tmpfs none rw\n301 157 0:81 / /a rw - tmpfs none rw\n") ==
        Names{"mount '/a' (tmpfs)"});
  CHECK(refused("300 157 0:80 / /m\\033x rw - ramfs none rw\n") == Names{"mount '/m\\x1bx' (ramfs)"});
}

TEST_CASE("a place that is external in init's namespace is none in another one") {
  auto namespaces = mounts_with("");
  namespaces.push_back({7, parse_listed_mounts("900 800 0:90 / /data rw - ramfs none rw\n")});
  const Findings findings = judge_mounts(namespaces, {"/dev/null", "/data"});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].process == 7);
  CHECK(findings[0].finding.object == "mount '/data' (ramfs)");
}

TEST_CASE("a mount with another over it is known") {
  const auto mounts = parse_listed_mounts(
      "1 0 0:1 / / rw - overlay none rw\n2 1 0:2 / /a rw - tmpfs none rw\n3 2 0:3 / /a rw - tmpfs none rw\n"
      "4 1 0:4 / /b/c rw - tmpfs none rw\n5 1 0:5 / /b rw - tmpfs none rw\n6 1 0:6 / /bb rw - tmpfs none "
      "rw\n");
  const MountIndex index = index_mounts({{1, mounts}});
  CHECK(index.places.at(2).is_covered);
  CHECK_FALSE(index.places.at(3).is_covered);
  CHECK(index.places.at(4).is_covered);
  CHECK_FALSE(index.places.at(5).is_covered);
  CHECK_FALSE(index.places.at(6).is_covered);
}

TEST_CASE(
    "the mount of message queues is whole, writable and seen, and nothing else is passed over with it") {
  const auto find = [](const std::string& of_init, const std::string& of_service = "") {
    return find_queue_mounts({{1, parse_listed_mounts("1 0 0:1 / / rw - overlay none rw\n" + of_init)},
                              {7, parse_listed_mounts(of_service)}},
                             {"/host"});
  };
  const std::string good = "3 1 0:9 / /dev/mqueue rw - mqueue m rw\n";
  const QueueObjects found = find(good, "13 11 0:9 / /other rw - mqueue m rw\n");
  REQUIRE(found.mount);
  CHECK(found.mount->id == 3);
  CHECK(found.mount->point == "/dev/mqueue");
  CHECK(found.mount->device == makedev(0, 9));
  CHECK(found.externals == Names{"mnt[/dev/mqueue]:queues", "mnt[/other]:queues"});
  CHECK_FALSE(find("").mount);
  CHECK_FALSE(find("3 1 0:9 / /dev/mqueue ro - mqueue m rw\n").mount);
  CHECK_FALSE(find("3 1 0:9 /x /dev/mqueue rw - mqueue m rw\n").mount);
  CHECK_FALSE(find("3 1 0:9 / /host rw - mqueue m rw\n").mount);
  CHECK(find("3 1 0:9 / /host rw - mqueue m rw\n").externals.empty());
  CHECK(find("2 1 0:9 / /ro ro - mqueue m rw\n" + good).mount->id == 3);
  // What lies over it, or stands there for a service, CRIU would pass over, too.
  for (const QueueObjects& other : {find(good + "4 3 0:8 / /dev/mqueue rw - tmpfs t rw\n"),
                                    find(good, "14 11 0:8 / /dev/mqueue rw - tmpfs t rw\n")}) {
    CHECK_FALSE(other.mount);
    CHECK(other.externals.empty());
  }
}

TEST_CASE("kinds of descriptors without a path") {
  for (const char* fine : {"[eventfd]", "[eventpoll]", "inotify", "[fanotify]", "[signalfd]", "[timerfd]"})
    CHECK_FALSE(judge_anonymous(std::string("anon_inode:") + fine));
  CHECK(judge_anonymous("anon_inode:[io_uring]")->object == "io_uring");
  CHECK(judge_anonymous("anon_inode:bpf-prog")->object == "bpf-prog");
  CHECK(judge_anonymous("anon_inode:[new\x1bthing]")->why == "CRIU does not know this kind of file");
}

TEST_CASE("protocols of sockets") {
  for (const char* fine : {"TCP", "TCPv6", "UDP", "UNIX", "UNIX-STREAM", "RAW", "PACKET", "NETLINK", "PING"})
    CHECK_FALSE(judge_protocol(fine));
  CHECK(judge_protocol("MPTCP")->cure.find("GODEBUG=multipathtcp=0") != std::string::npos);
  CHECK(judge_protocol("AF_VSOCK")->object == "AF_VSOCK socket");
  CHECK(judge_protocol("QUIC"));
}

TEST_CASE("devices that CRIU opens again, and others") {
  const auto chr = [](unsigned a, unsigned b) { return judge_node(S_IFCHR, ::makedev(a, b)).has_value(); };
  CHECK_FALSE(chr(1, 3));
  CHECK_FALSE(chr(5, 2));
  CHECK_FALSE(chr(136, 7));
  CHECK_FALSE(chr(10, 200));
  CHECK(chr(10, 229));
  CHECK(chr(226, 0));
  CHECK(judge_node(S_IFBLK, ::makedev(8, 0))->object == "device block 8:0");
  CHECK_FALSE(judge_node(S_IFREG, ::makedev(8, 0)));
}

TEST_CASE("a file must be on a mount of the container, or in shared memory, or be the console") {
  const FileRules known = rules();
  const auto judge = [&](HeldFile file) { return judge_file(file, known); };
  CHECK_FALSE(judge({"/etc/x (deleted)", S_IFREG, 0, ::makedev(0, 46), 157}));
  CHECK(judge({"/etc/x", S_IFREG, 0, ::makedev(254, 0), 27})->object == "file '/etc/x'");
  CHECK_FALSE(judge({"/memfd:x (deleted)", S_IFREG, 0, known.shared_memory, 3}));
  // Only called so: the container's own mount, or none of it.
  CHECK(judge({"/memfd:x (deleted)", S_IFREG, 0, ::makedev(254, 0), 3}));
  CHECK(judge({"/secretmem (deleted)", S_IFREG, 0, ::makedev(0, 15), 15})->why ==
        "CRIU does not save secret memory");
  CHECK_FALSE(judge({"/dev/pts/2", S_IFCHR, 0x8802, 0x1a, 26}));
  CHECK(judge({"/dev/pts/3", S_IFCHR, 0x8803, 0x1a, 26}));
}

TEST_CASE("namespaces, watches and processes that are held open") {
  const FileRules known = rules();
  CHECK_FALSE(judge_namespace_file("net:[4026531001]", known));
  CHECK(judge_namespace_file("net:[4026531002]", known));
  CHECK(judge_namespace_file("whatever", known)->object == "file 'whatever'");
  const auto watch = [&](const char* device) {
    return judge_watches(std::string("pos:\t0\ninotify wd:1 ino:2a sdev:") + device + " mask:100\n", known);
  };
  CHECK_FALSE(watch("2e"));       // 0:46
  CHECK_FALSE(watch("fe00000"));  // 254:0
  CHECK(watch("30"));             // 0:48, proc
  CHECK(watch("99"));
  Tree tree;
  tree.places.emplace(50, 0);
  CHECK_FALSE(judge_pidfd("flags:\t02000002\nPid:\t50\nNSpid:\t50\n", tree));
  CHECK_FALSE(judge_pidfd("flags:\t02000002\nPid:\t-1\n", tree));
  CHECK(judge_pidfd("flags:\t02000002\nPid:\t51\n", tree));
  CHECK(judge_pidfd("flags:\t02000202\nPid:\t50\n", tree)->why ==
        "it is of a thread, which CRIU does not save");
}

TEST_CASE("memory maps") {
  const FileRules known = rules();
  const auto judge = [&](std::string_view line, std::optional<mode_t> mode = S_IFREG, dev_t node = 0) {
    const auto mapping = parse_mapping(line);
    REQUIRE(mapping);
    return judge_mapping(*mapping, known, mode, node);
  };
  CHECK_FALSE(parse_mapping("rubbish"));
  CHECK_FALSE(parse_mapping(""));
  CHECK(parse_mapping("7f-8f r-xp 00001000 fe:00 77    /a b")->name == "/a b");
  CHECK(parse_mapping("7f-8f r-xp 00001000 fe:00 77    /a b")->device == "254:0");
  CHECK_FALSE(judge("7f-8f rw-p 00000000 00:00 0        [heap]"));
  CHECK_FALSE(judge("7f-8f r-xp 00000000 00:2e 99       /lib/x"));
  CHECK_FALSE(judge("7f-8f rw-s 00000000 00:01 99       /dev/zero (deleted)"));
  CHECK_FALSE(judge("7f-8f rw-s 00000000 00:09 99       socket:[99]"));
  CHECK_FALSE(judge("7f-8f rw-s 00000000 00:0e 99       /[aio] (deleted)"));
  CHECK(judge("7f-8f rw-s 00000000 00:0e 99             anon_inode:[io_uring]")->object ==
        "io_uring (memory)");
  CHECK(judge("7f-8f r-xp 00000000 00:00 0              [uprobes]"));
  CHECK(judge("7f-8f r-xp 00000000 08:01 99             /lib/x"));
  CHECK(
      judge("7f-8f rw-s 00000000 00:2e 99             /dev/dri/card0", S_IFCHR, ::makedev(226, 0))->object ==
      "device 226:0 (memory)");
  CHECK_FALSE(judge("7f-8f rw-p 00000000 00:2e 99       /dev/zero", S_IFCHR, ::makedev(1, 5)));
}

TEST_CASE("findings come through a pipe as they were") {
  const Findings findings = {{7, {Severity::obstacle, "a", "b", "c"}},
                             {8, {Severity::warning, "d", "e", "f"}}};
  const Findings read = decode_findings(encode_findings(findings));
  REQUIRE(read.size() == 2);
  CHECK(read[1].process == 8);
  CHECK(read[1].finding.severity == Severity::warning);
  CHECK(read[0].finding.cure == "c");
  CHECK(decode_findings("7\nobstacle\nhalf").empty());
  CHECK(decode_findings("x\na\nb\nc\nd\n").empty());
}

TEST_CASE("unix sockets must have both ends in the container, and nothing on the way") {
  const HeldSockets held = {{1, {100, 3, "UNIX-STREAM"}}};
  const auto judge = [&](const SocketLists& lists) {
    const Findings findings = judge_sockets(held, lists);
    return findings.empty() ? std::string() : findings[0].finding.why;
  };
  SocketLists lists;
  CHECK(judge(lists) == "it was made outside of the container's network namespaces");
  lists.is_complete = false;
  CHECK(judge(lists).empty());  // it may be in the other half
  lists.is_complete = true;
  lists.local[1] = {};
  CHECK(judge(lists).empty());
  lists.local[1].peer = 2;
  CHECK(judge(lists) == "no process of the container has its other end: that is outside, or on its way");
  lists.local[1] = {0, {0}, 0};
  CHECK(judge(lists) == "a connection to it was closed before it was accepted");
  lists.local[1] = {0, {5}, 0};
  lists.local[5].unsent = 1;
  CHECK(judge(lists) == "a connection to it has data and was not accepted yet");
  lists.unknown = {"UNIX"};
  CHECK(judge(lists) == "this kernel has no list of them, which CRIU needs");
}

TEST_CASE("netlink, packet and internet sockets") {
  const auto judge = [&](const char* protocol, const SocketLists& lists) {
    return judge_sockets({{1, {100, 3, protocol}}}, lists).size();
  };
  SocketLists lists;
  CHECK(judge("NETLINK", lists) == 0);  // not bound
  lists.netlink[1] = {77, true, false, false};
  CHECK(judge("NETLINK", lists) == 0);
  lists.netlink[1].has_messages = true;
  CHECK(judge("NETLINK", lists) == 1);
  lists.netlink[1] = {77, true, true, false};
  CHECK(judge("NETLINK", lists) == 1);
  lists.netlink[1] = {0, true, false, false};
  CHECK(judge("NETLINK", lists) == 1);
  CHECK(judge("PACKET", lists) == 1);
  lists.packet = {1};
  CHECK(judge("PACKET", lists) == 0);
  CHECK(judge("TCP", lists) == 0);  // not bound
  lists.internet_of_host = {1};
  CHECK(judge("TCP", lists) == 1);
  CHECK(judge("MPTCP", lists) == 0);  // told by its protocol
}

TEST_CASE("links of a network namespace") {
  constexpr uint16_t kEther = 1, kNone = 0xfffe, kLoopback = 772, kSit = 776;
  CHECK_FALSE(judge_link({"lo", "", kLoopback}));
  CHECK_FALSE(judge_link({"eth0", "veth", kEther}));
  CHECK_FALSE(judge_link({"tun0", "tun", kNone}));
  CHECK_FALSE(judge_link({"sit0", "sit", kSit}));
  CHECK(judge_link({"vx0", "vxlan", kEther})->object == "network link 'vx0' (vxlan)");
  CHECK(judge_link({"wg0", "wireguard", kNone}));
  CHECK(judge_link({"eth1", "", kEther})->object == "network link 'eth1' (hardware)");
}

TEST_CASE("a CRIU that is too old for the kernel is told") {
  HostNeeds needs;
  CHECK(judge_criu("3.17.1", "6.13.0", needs)->why == "it does not start on Linux 6.13");
  CHECK_FALSE(judge_criu("3.17.1", "6.1.0-35-amd64", needs));
  CHECK_FALSE(judge_criu("4.1.1", "6.18.1", needs));
  needs.has_internet_sockets = true;
  CHECK(judge_criu("4.1.1", "6.18.1", needs)->why == "it cannot save sockets of TCP and UDP on Linux 6.18");
  CHECK_FALSE(judge_criu("4.1.1", "6.12.5", needs));
  CHECK_FALSE(judge_criu("4.2.1-1", "6.18.1", needs));
  needs.has_ping_sockets = true;
  CHECK(judge_criu("4.1.1", "6.12.5", needs));
  CHECK_FALSE(judge_criu("4.2", "6.12.5", needs));
}

TEST_CASE(
    "what a process opens anew all the time is the same obstacle at each look, another process' is not") {
  const Obstacle queue{7, "jobs", "file '/jobs1' (descriptor 3)", "no mount", ""};
  const Obstacle socket{7, "jobs", "unix socket (descriptor 5)", "on its way", "", "1001"};
  Obstacle anew = queue, another = queue, else_why = queue, next = socket;
  next.identity = "1002";
  anew.object = "file '/jobs2' (descriptor 4)";
  another.pid = 8;
  else_why.why = "a lock";
  std::vector<Obstacle> found = {another, anew, else_why, socket, next};
  keep_alike(found, {queue, socket});
  REQUIRE(found.size() == 2);
  CHECK(found[0].object == anew.object);
  CHECK(found[1].identity == socket.identity);
  keep_alike(found, {});
  CHECK(found.empty());
}
