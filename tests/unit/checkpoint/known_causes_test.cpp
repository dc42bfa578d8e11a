// CRIU's error lines in sentences: the table of known causes, and which line of a log counts.
#include "checkpoint/known_causes.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "checkpoint/failure.h"

using namespace holm;
using namespace holm::checkpoint;

namespace {

// One for each entry of the table, in its order.
constexpr std::string_view kSamples[] = {
    "Can't dump file 7 of that type [600] (anon anon_inode:[io_uring])",
    "Can't dump file 14 of that type [600] (anon anon_inode:bpf-prog)",
    "Can't dump file 3 of that type [600] (anon anon_inode:[perf_event])",
    "Can't dump file 5 of that type [600] (anon anon_inode:[userfaultfd])",
    "Can't dump file 9 of that type [600] (anon anon_inode:kvm-vm)",
    "Can't dump file 3 of that type [20600] (chr 10:59)",
    "Can't dump file 6 of that type [60660] (unknown /dev/vda)",
    "Can't lookup mount=14 for fd=4 path=/secretmem (deleted)",
    "Can't lookup mount=28 for fd=1 path=/var/log/start.log",
    "Open files on overmounted mounts are not supported yet; mount=41 fd=5 path=/mnt/a",
    "Unaccessible path opened 2305:131, need 2305:97",
    "Can't dump ghost file /tmp/big of 5368709120 size, increase limit",
    "Can't create link remap for /srv/data. Use link-remap option.",
    "Can't link remap to /srv/data: Operation not permitted",
    "Some file locks are hold by dumping tasks! You can try --file-locks to dump them.",
    "Unresolved lock found pid 4711 ino 4711",
    "fsnotify: \tCan't dump that handle",
    "fsnotify: Unable to lookup a mount by dev 0x3f2a",
    "fsnotify: Can't find suitable path for handle (dev 3f2a ino 3f2a): 4711",
    "pidfd: pidfd pid 4711 is not a part of process tree..",
    "pidfd: PIDFD_THREAD flag is currently not supported",
    "Unknown shit 600 (anon_inode:[io_uring])",
    "Unknown shit 600 (anon_inode:[perf_event])",
    "Can't handle non-regular mapping on 4711's map 3f2a",
    "Sysv shmem 3f2a with a hole not supported",
    "Task 4711 with SysVIPC shmem map @3f2a doesn't live in IPC ns",
    "PID 4711 has uprobes vma. Consider using --allow-uprobes.",
    "inet: Connected TCP socket, consider using --tcp-established option.",
    "inet: In-flight connection (l) for 3f2a",
    "inet: Unknown inet socket 3f2a state 4711",
    "inet: Unsupported proto 262 for socket 3f2a",
    "inet: Unsupported proto 132 for socket 3f2a",
    "inet: Unsupported proto 4711 for socket 3f2a",
    "sockets: BUG! Unknown socket collected (family 40)",
    "sockets: BUG! Unknown socket collected (family 4711)",
    "sockets: Sockets (family 4711 proto 4711) are not collected",
    "sockets: Can't get 1:16 opt: Operation not supported",
    "packet: Can't find packet socket 17",
    "netlink: The socket has data to read",
    "netlink: The netlink socket 0x3f2a has more than 32 groups",
    "unix: External socket is used. Consider using --ext-unix-sk option.",
    "unix: Can't dump half of stream unix connection. name: /srv/data; peer name: Operation not permitted",
    "unix: Unix socket 17 with unreachable peer 17 (17)",
    "unix: Unix socket 17 without peer 17",
    "unix: Found a closed in-flight socket to 3f2a",
    "skqueue: Control messages in queue, not supported",
    "Can't turn TCP repair mode ON: Operation not permitted",
    "inet: Connected TCP socket in image",
    "inet: Can't bind inet socket (id 12): Cannot assign requested address",
    "inet: Can't bind inet socket (id 4711): Operation not permitted",
    "Can't bind inet socket back: Operation not permitted",
    "Can't connect inet socket back: Operation not permitted",
    "Can't dump nested uts namespace for 4711",
    "Can't dump nested user namespace for 4711",
    "Can't dump nested pid namespace for 4711",
    "net: Unable to dump more than one netns if the --emptyns is set",
    "net: Unable to dump a socket from an external network namespace",
    "One or more namespaces doesn't belong to the target user namespace",
    "mnt: FS mnt ./run/credentials/systemd-journald.service dev 0x57 root / unsupported id 733",
    "mnt: FS mnt ./mnt/pool dev 0x57 root / unsupported id 733",
    "failed to dump fs ./mnt/sshfs (fuse): always fail",
    "/srv/data is a fuse mount but not external",
    "Autofs 4711 is alive, but unreachable.",
    "mnt: Mount 733 ./mnt/shared (master_id: 1 shared_id: 0) has unreachable sharing. Try "
    "--enable-external-masters.",
    "mnt-v2: Sharing group (4711, 4711) has unreachable sharing. Try --enable-external-masters.",
    "mnt: 4711:/srv/data doesn't have a proper root mount",
    "mnt: No mapping for 4711:/srv/data mountpoint",
    "mnt: A few mount points can't be mounted",
    "mnt-v2: Can't mount at /srv/data: Operation not permitted",
    "mnt-v2: Unable to mount tmpfs /tmp/.criu.mntns.Ab/mnt-12 (id=12): Operation not permitted",
    "tty: Unable to find a master for /srv/data",
    "tty: Found slave peer index 4711 without correspond master peer",
    "tty: Found dangling tty with sid 4711 pgid 4711 (/srv/data) on peer fd 4711.",
    "tty: Unable to find a tty driver (rdev 3f2a dev 3f2a)",
    "A session leader of 4711(4711) is outside of its pid namespace",
    "The root process 4711 is not a session leader. Consider using --shell-job option",
    "zombie 31447 (comm strace me) found while seizing",
    "Unseizable non-zombie 31447 found, state S, err -1/10",
    "Can't dump the 4711 thread with a pending SIGTRAP.",
    "The criu itself is within dumped tree.",
    "Zombie thread not supported",
    "Individually stopped threads not supported",
    "Timeout reached. Try to interrupt: 4711",
    "Unable to freeze cgroup /srv/data (17 x 17ms attempts, timeout: 17s)",
    "Can't dump task 4711 running in 32-bit mode",
    "Can't dump task 4711 with LDT descriptors",
    "Can't get rlimit 4711: Operation not permitted",
    "4711 has rseq but kernel lacks get_rseq_conf feature",
    "ptrace_peek_area(4711, 3f2a, 3f2a, 3f2a): fail to read rseq struct",
    "Fixup rseq for 4711 failed -1",
    "seccomp: Can't fetch filter on tid_real 4711 i 17: Operation not permitted",
    "seccomp: Can't find entry on tid_real 4711",
    "suspending seccomp failed: Operation not permitted",
    "Can't allocate memory for parasite blob (pid: 4711)",
    "4711 was killed by 9 unexpectedly: Killed",
    "Can't fork for 4711: File exists",
    "Can't fork for 12: Operation not permitted",
    "Can't fork for 12: Resource temporarily unavailable",
    "Can't fork for 12: Invalid argument",
    "Pid 4711 do not match expected 4711",
    "12 killed by signal 31: Bad system call",
    "12 killed by signal 9: Killed",
    "Can't open file var/log/a.log on restore: No such file or directory",
    "Can't open file /srv/data on restore: Operation not permitted",
    "File /srv/data has bad size 17 (expect 17)",
    "File /srv/data has bad mode 020600 (expect 020600)",
    "File /srv/data has bad build-ID",
    "Can't create memfd:/srv/data: Operation not permitted",
    "Can not set flock!",
    "fsnotify: Unable to open sys/fs/cgroup/init.scope/memory.events: No such file or directory",
    "fsnotify: Unable to open /srv/data: Operation not permitted",
    "fsnotify: Can't add watch for 0x5 with 0x1: No space left on device",
    "fsnotify: Can't create inotify for 3f2a: Operation not permitted",
    "fsnotify: Adding fanotify ignored-mask 0x3f2a on 0x3f2a//srv/data failed (4711)",
    "fsnotify: Can't init fanotify mark (4711): Operation not permitted",
    "Unable to open timens-0.img: Permission denied",
    "Unable to open core-1.img: Input/output error",
    "Can't open dir /srv/data: Operation not permitted",
    "Head magic doesn't match for /srv/data",
    "Unexpected EOF on /srv/data",
    "Unexpected EOF",
    "Failed unpacking object 0x7f00 from /srv/data",
    "Not supported images version 17",
    "page-xfer: The page server doesn't answer: Operation not permitted",
    "page-xfer: Remote side closed connection",
    "uffd: Unable to open an userfaultfd descriptor: Operation not permitted",
    "cpu: CPU xsave size mismatch (17/17)",
    "cpu: CPU xsave max size mismatch (17/17)",
    "cpu: CPU xfeatures has unsupported bits (3f2a)",
    "cpu: CPU capabilities do not match run time",
    "cpu: FPU feature required by image is not supported on host (fpu:4711 fxsr:4711 "
    "osxsave:4711 xsaves:4711)",
    "shstk: can't get SSP for 4711: /srv/data",
    "Cannot unlock CET for 4711 task: Operation not permitted",
    "vdso: Unexpected rt vDSO area bounds",
    "vdso: Kdat sizes of vdso/vvar differ to maps file ",
    "vdso: vDSO isn't provided by kernel, but exists in images",
    "rseq: can't restore as kernel doesn't support it",
    "System call kcmp is not supported: Operation not permitted",
    "Time namespaces are not supported",
    "Unable to set a boottime clock offset: Operation not permitted",
    "Unable to write into uid_map: Operation not permitted",
    "Unable to drop capability 4711: 4711",
    "Unable to restore capabilities: 4711",
    "apparmor LSM specified but apparmor not supported by kernel",
    "can't write lsm profile 4711",
    "Failed to restore msg id (4711 instead of 4711)",
    "cg: controller /srv/data not found",
    "cg: Cgroup dir /srv/data doesn't exist",
    "cg: Failed writing 0-7 to cpuset/holm/7/cpuset.cpus: Invalid argument",
    "cg: write to cgroup.subtree_control: Operation not permitted",
    "cg: Can't move into unified/holm/7/cgroup.procs (-1/12): Device or resource busy",
    "cg: cgroupd: Can't move thread 4711 into /srv/data//srv/data",
    "net: Unsupported link 5 (type 1 kind wireguard)",
    "net: a macvlan parent for /srv/data is required",
    "net: Can't restore link: 4711",
    "net: Unable to restore network links",
    "Can't dump tmpfs content",
    "Can't restore tmpfs content",
    "net: IP tool failed on route restore  ",
    "net: nft command error:",
    "net: Can't restore ip6tables dump - no legacy version present",
    "net: Locking network failed using nftables",
    R"(execvp("tar", ...) failed: No such file or directory)",
    "Can't write img file: No space left on device",
    "Can't write img file: Disk quota exceeded",
    "Can't write img file: Cannot allocate memory",
    "mnt: parse_mountinfo: Can't allocate 1048576 bytes",
    "Can't write img file: Too many open files",
    "Can't write img file: Read-only file system",
    "Can't write img file: Input/output error",
    "sockets: BUG at criu/sockets.c:183",
    "Can't open 4711's mapfile link 3f2a: Operation not permitted",
    "Dump files (pid: 4711) failed with -1",
    "Can't infect (pid: 4711) with parasite",
    "Unable to detach from 4711: Operation not permitted",
    "Namespaces dumping finished with error 4711",
    "Dumping FAILED.",
    "Restorer abnormal termination for 4711",
    "4711 exited, status=4711",
    "Child 4711 died too early",
    "Restoring FAILED.",
};

// A log file for one test.
class LogFile {
 public:
  explicit LogFile(const std::string& content) {
    char name[] = "/tmp/holm-criu-log-XXXXXX";
    const int fd = ::mkstemp(name);
    REQUIRE(fd >= 0);
    ::close(fd);
    path_ = name;
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~LogFile() { ::unlink(path_.c_str()); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Error explain(const std::string& content, int error_number = 0) {
  const LogFile log(content);
  const Error error = explain_failure(log.path(), error_number).error;
  REQUIRE(!error.hints().empty());
  CHECK(error.hints().back().find(log.path()) != std::string::npos);
  return error;
}

std::string sentence_of(std::string_view line, Operation operation = Operation::both) {
  const auto found = find_known_cause(line, operation);
  return found ? found->sentence : "";
}

// The messages of a CRIU program: what follows "Error (%s:%d): " in its strings. None: it is not there.
std::vector<std::string> messages_of(const std::string& program) {
  std::ifstream in(program, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  constexpr std::string_view kStart = "Error (%s:%d): ";
  std::vector<std::string> messages;
  for (size_t at = bytes.find(kStart); at != std::string::npos; at = bytes.find(kStart, at)) {
    at += kStart.size();
    const size_t end = std::min(bytes.find('\0', at), bytes.find('\n', at));
    if (end == std::string::npos) break;
    messages.push_back(bytes.substr(at, end - at));
  }
  return messages;
}

bool occurs(std::string_view message, const std::vector<std::string>& messages) {
  for (const std::string& text : messages)
    if (match(message, text)) return true;
  return false;
}

}  // namespace

TEST_CASE("each known cause gives its sentence for a line of CRIU's") {
  const auto causes = known_causes();
  REQUIRE(std::size(kSamples) == causes.size());
  for (size_t i = 0; i < causes.size(); ++i) {
    CAPTURE(kSamples[i]);
    const auto found = find_known_cause(kSamples[i], causes[i].operation);
    REQUIRE(found);
    CHECK(found->known == &causes[i]);
    CHECK(found->sentence.find('{') == std::string::npos);
    CHECK_FALSE(is_harmless(kSamples[i]));
  }
}

TEST_CASE("sentences and hints are in Holm's words") {
  for (const KnownCause& known : known_causes()) {
    CAPTURE(known.sentence);
    CHECK_FALSE(known.sentence.empty());
    CHECK_FALSE(known.hint.empty());
    for (const std::string_view text : {known.sentence, known.hint}) {
      CHECK_FALSE(text.ends_with('.'));
      CHECK_FALSE(text.contains("failed to"));
      CHECK_FALSE(text.contains(" dump"));
    }
    CHECK((known.version.empty() || known.version == "4.1.1" || known.version == "4.2.1"));
  }
}

TEST_CASE("what CRIU fills in stands in the sentence") {
  CHECK(sentence_of("Can't dump file 7 of that type [600] (anon anon_inode:[io_uring])") ==
        "a process holds an io_uring (file descriptor 7), which cannot be saved");
  CHECK(sentence_of("Can't dump file 3 of that type [20600] (chr 10:59)") ==
        "a process holds the character device 10:59 (file descriptor 3), whose state cannot be saved");
  CHECK(sentence_of("Can't lookup mount=28 for fd=1 path=/var/log/start.log") ==
        "the open file '/var/log/start.log' (file descriptor 1) lies on a mount outside of the container");
  CHECK(sentence_of("Can't dump nested time namespace for 4711") ==
        "process 4711 runs in a time namespace of its own, which cannot be saved");
  CHECK(sentence_of("fsnotify: Unable to lookup a mount by dev 0x57") ==
        "a process watches (inotify) a file on device 0x57, which is not mounted in the container");
  CHECK(sentence_of("A session leader of zombie process 4711(12) is outside of its pid namespace") ==
        "a process (zombie process 4711, 12 in the container) was started from outside and belongs to a "
        "session there");
  CHECK(sentence_of("Can't open file var/log/a on restore: No such file or directory") ==
        "the file 'var/log/a', which a process had open, is missing");
  CHECK(sentence_of("File usr/lib/libc.so.6 has bad size 2003408 (expect 1926256)") ==
        "the file 'usr/lib/libc.so.6' has changed since the checkpoint: 2003408 bytes instead of 1926256");
  CHECK(sentence_of("net: Unsupported link 5 (type 1 kind ipvlan)") ==
        "the network interface number 5 is of a kind that cannot be saved (ipvlan)");
  CHECK(sentence_of("cpu: CPU xsave size mismatch (2696/832)") ==
        "this CPU saves its registers in 832 bytes, the first host's in 2696");
  CHECK(sentence_of("Failed to restore shm id (1 instead of 32769)") ==
        "the System V shm object 32769 got another number (1)");
}

TEST_CASE("a line that both operations print is told for the one that was asked") {
  CHECK(sentence_of("Can't open file a on restore: Permission denied", Operation::save).empty());
  CHECK_FALSE(sentence_of("Can't open file a on restore: Permission denied", Operation::restore).empty());
}

TEST_CASE("every message of the table is one of the installed CRIU's") {
  const char* given = std::getenv("HOLM_CRIU_BINARY");
  const std::string program = given != nullptr ? given : "/opt/holm/criu/root/usr/sbin/criu";
  const std::vector<std::string> messages = messages_of(program);
  if (messages.empty()) {
    MESSAGE("skipped: needs CRIU's program at " << program);
    return;
  }
  CHECK(messages.size() > 1000);
  const bool is_new = occurs("PID * has uprobes vma.*", messages);
  const std::string other = is_new ? "4.1.1" : "4.2.1";
  for (const KnownCause& known : known_causes()) {
    if (known.version == other) continue;
    INFO(known.message);
    CHECK(occurs(known.message, messages));
  }
  for (const HarmlessLine& harmless : harmless_lines()) {
    INFO(harmless.message);
    CHECK((occurs(harmless.message, messages) && !harmless.why.empty()));
  }
}

TEST_CASE("a message matches whole lines only, and gives what stands for its stars") {
  REQUIRE(match("Pid * do not match expected *", "Pid 5 do not match expected 12"));
  CHECK(match("Pid * do not match expected *", "Pid 5 do not match expected 12")->back() == "12");
  CHECK_FALSE(match("Pid * do not match", "Pid 5 do not match expected 12"));
  CHECK_FALSE(match("exited, status=*", "7 exited, status=1"));
  CHECK(match("*", "")->size() == 1);
  CHECK_FALSE(match("a*ba", "aba*"));
  CHECK_FALSE(match("ab*ba", "aba"));
}

TEST_CASE("the first cause counts, not what it led to, and the process is named") {
  const Error error = explain(
      "(00.000441) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not "
      "permitted\n"
      "(00.011400) Dumping task (pid: 170650 comm: redis-server)\n"
      "(00.011691) Error (criu/proc_parse.c:479): Unknown shit 600 (anon_inode:[io_uring])\n"
      "(00.011697) Error (criu/proc_parse.c:707): Can't open 170650's mapfile link 7fa5f2385000: No such "
      "device or address\n"
      "(00.011699) Error (criu/cr-dump.c:1570): Collect mappings (pid: 170650) failed with -1\n"
      "(00.019079) Error (criu/cr-dump.c:2111): Dumping FAILED.\n");
  CHECK(error.message() == "a process has an io_uring mapped, which cannot be saved");
  REQUIRE(error.places().size() == 1);
  CHECK(error.places()[0] == "process 170650 on this host, \"redis-server\"");
  CHECK(error.hints().back().find("Unknown shit 600") != std::string::npos);
}

TEST_CASE("a cause that comes after lines that nobody knows counts all the same") {
  const Error error = explain(
      "(00.1) Error (criu/files-reg.c:1931): Can't link  -> link_remap.5: Operation not permitted\n"
      "(00.1) Error (criu/files-reg.c:1159): Can't link remap to /a: Operation not permitted\n");
  CHECK(error.message() ==
        "the file '/a' is open under a name that it no longer has, and cannot be given one: Operation not "
        "permitted");
}

TEST_CASE("on restore the pid before the colon is the container's") {
  const Error error = explain(
      "(00.2)     31: Error (criu/files-reg.c:2353): Can't open file a.log on restore: No such file or "
      "directory\n"
      "(00.2) pie: 12: Error (criu/pie/restorer.c:2332): Restorer fail 12\n"
      "(00.2) Error (criu/cr-restore.c:2331): Restoring FAILED.\n");
  CHECK(error.message() == "the file 'a.log', which a process had open, is missing");
  REQUIRE(error.places().size() == 1);
  CHECK(error.places()[0] == "process 31 of the container");
}

TEST_CASE("attempts are the cause where the time-out comes right after them") {
  const std::string attempt =
      "(09.8) Error (criu/seize.c:335): zombie 31447 (comm sleep) found while seizing\n";
  const std::string time_out = "(10.0) Error (criu/cr-dump.c:1655): Timeout reached. Try to interrupt: 0\n";
  CHECK(explain(attempt + attempt + time_out).message() ==
        "process 31447 (sleep) cannot be stopped: a debugger or strace has it");
  CHECK(explain(time_out).message() == "the container could not be stopped and saved within the time-out");
  CHECK(explain(attempt + "(09.9) Error (criu/sk-netlink.c:77): netlink: The socket has data to read\n")
            .message() == "a netlink socket has messages that nobody has read yet");
}

TEST_CASE("harmless lines are never the cause") {
  const std::string harmless =
      "(00.05) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not "
      "permitted\n"
      "Error (criu/util.c:642): execvp(\"iptables-save\", ...) failed: No such file or directory\n"
      "(00.30) Error (criu/util.c:1723): ip6tables-legacy-save -V failed\n"
      "(00.31)      1: Error (criu/net.c:2073): net: IP tool failed on rule delete table local\n"
      "(00.32) Error (criu/util.c:657): exited, status=1\n";
  CHECK(explain(harmless).message() == "CRIU ended without a reason");
  CHECK(explain(harmless + "(00.31) Error (criu/cr-dump.c:1975): Dumping FAILED.\n").message() ==
        "CRIU gave up without a reason");
  CHECK(explain(harmless + "Error (criu/util.c:642): execvp(\"ip\", ...) failed: No such file or directory\n")
            .message() == "the program 'ip', which CRIU needs, does not run: No such file or directory");
}

TEST_CASE("where no line is known, the first one is shown as it is") {
  const Error error = explain(
      "(00.1) Error (criu/x.c:1): the quux is out of order\x1b[2J\n"
      "(00.2) Error (criu/cr-dump.c:1975): Dumping FAILED.\n");
  CHECK(error.message() == "CRIU could not do it: the quux is out of order\\x1b[2J");
}

TEST_CASE("a log that says nothing is told as such, with CRIU's answer where there is one") {
  CHECK(explain("").message() == "CRIU ended before it wrote a word");
  CHECK(explain("", ENOMEM).message() ==
        "CRIU ended before it wrote a word: Cannot allocate memory (ENOMEM)");
  CHECK(explain("(00.000400) Version: 4.2.1 (gitid 0)\n").message() == "CRIU ended without a reason");
  CHECK_FALSE(explain_failure("/nonexistent/criu.log", 0).passes);
  CHECK(explain_failure("/nonexistent/criu.log", 0).error.message() == "CRIU wrote no log");
}

TEST_CASE("what soon ends by itself is told from what does not") {
  const LogFile passing(
      "(00.1) Error (criu/sk-queue.c:1): skqueue: Control messages in queue, not supported\n");
  CHECK(explain_failure(passing.path(), 0).passes);
  const LogFile unknown("(00.1) Error (criu/x.c:1): the quux is out of order\n");
  CHECK_FALSE(explain_failure(unknown.path(), 0).passes);
}

TEST_CASE("what a container puts into its names is no error of CRIU's and harms no terminal") {
  CHECK(explain("(00.1) 12 fdinfo 3: /a Error (criu/x.c:1): forged\n").message() ==
        "CRIU ended without a reason");
  CHECK(explain("(00.1) Error (forged) (criu/x.c:1): text\n").message() == "CRIU ended without a reason");
  const Error error =
      explain("(00.1) Error (criu/x.c:1): Can't dump ghost file /\x1b]0;a\x07 of 5 size, increase limit\n");
  CHECK(error.report().find('\x1b') == std::string::npos);
  CHECK(error.report().find("\\x1b]0;a\\x07") != std::string::npos);
}

TEST_CASE("binary, huge and endless lines do no harm") {
  std::string garbage;
  for (unsigned i = 0; i < 300'000; ++i) garbage += static_cast<char>((i * 2654435761U) >> 13);
  CHECK(explain(garbage).message() == "CRIU ended without a reason");

  const std::string cause = "(00.1) Error (criu/x.c:1): netlink: The socket has data to read\n";
  const std::string huge(3'000'000, 'x');
  CHECK(explain(huge + "\n" + cause).message() == "a netlink socket has messages that nobody has read yet");
  const Error named = explain("(00.1) Error (criu/x.c:1): Can't create link remap for " + huge +
                              ". Use link-remap option.\n");
  CHECK(named.report().size() < 1500);
  const Error endless = explain("(00.1) Error (criu/x.c:1): " + huge);
  CHECK(endless.report().size() < 1500);

  std::string many;
  for (int i = 0; i < 20'000; ++i) many += "(00.1) Error (criu/x.c:1): a: b: c: " + std::to_string(i) + "\n";
  CHECK(explain(many).message() == "CRIU could not do it: a: b: c: 0");
}

TEST_CASE("lines as long as the reader's buffer are read whole") {
  for (size_t size = 4090; size < 4100; ++size) {
    CAPTURE(size);
    const std::string filler(size, 'y');
    const std::string cause = "(00.1) Error (criu/x.c:1): netlink: The socket has data to read";
    CHECK(explain(filler + "\n" + cause).message() ==
          "a netlink socket has messages that nobody has read yet");
  }
}
