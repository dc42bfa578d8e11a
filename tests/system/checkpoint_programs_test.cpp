// Programs as Debian has them that are saved and go on: a web server under load, a database in a transaction,
// an editor on the console, and what runs other people's programs: a JVM, Node.js and Python.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <netinet/tcp.h>

#include <atomic>
#include <memory>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "tests/support/criu.h"
#include "tests/support/debian.h"
#include "tests/support/pty_program.h"
#include "tests/support/tcp.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;

namespace {

#define HOLM_REQUIRES_PROGRAMS()                               \
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat()); \
  HOLM_REQUIRES("Debian's packages of programs", have_debian(kPrograms))

// An installation with a container 'box' of all these programs.
class Box : public Installation {
 public:
  explicit Box(const std::string& script) {
    add_debian(*this, kPrograms);
    start("box", "template = \"programs\"\n" + shell(script) + "[[network]]\nmode = \"nat\"\n");
  }
  std::string address(const std::string& name = "box") const { return addresses_of(*this, name)[0]; }
  std::string file() const { return directory() + "/box.holm"; }

  void suspend_and_start() const {
    CHECK(holm({"check", "box"}).out == "ok       container 'box' can be saved\n");
    suspend_and_go_on(*this, "box");
  }
  void save_and_run_on() const {
    CHECK(holm({"check", "box"}).out == "ok       container 'box' can be saved\n");
    holm_ok({"save", "--leave-running", "box", file()});
  }
};

// The script that runs a program's text.
std::string run(const std::string& file, const std::string& text, const std::string& command) {
  return "cd /root; cat > " + file + " <<'END'\n" + text + "END\n" + command;
}

// --- visitors of a web server

constexpr const char* kNginx = R"(cat > /etc/nginx/nginx.conf <<'END'
worker_processes 2;
daemon off;
events { worker_connections 64; }
http {
  keepalive_requests 1000000;
  access_log off;
  server { listen 80 default_server; root /root; }
}
END
chmod 755 /root
i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i of the page"; done > /root/index.html
exec nginx)";

// Ask for the page again and again over one connection each, and count the answers.
class Visitors {
 public:
  Visitors(const std::string& address, const std::string& page, int count) : page_(page) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this, address] { visit(address); });
  }
  ~Visitors() { end(); }
  void end() {
    is_over_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  // Each of them has had so many more.
  bool have_more(int answers) {
    const int before = answers_;
    const int wanted = answers * static_cast<int>(threads_.size());
    return eventually([&] { return answers_ >= before + wanted || failures_ > 0; }, 30s) && failures_ == 0;
  }
  int answers() const { return answers_; }
  int failures() const { return failures_; }

 private:
  void visit(const std::string& address) {
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in server = {};
    server.sin_family = AF_INET;
    server.sin_port = htons(80);
    ::inet_pton(AF_INET, address.c_str(), &server.sin_addr);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0) ++failures_;
    while (!is_over_ && failures_ == 0) {
      if (get_page(socket.get()))
        ++answers_;
      else
        ++failures_;
    }
  }
  bool get_page(int socket) const {
    const std::string request = "GET / HTTP/1.1\r\nHost: box\r\n\r\n";
    if (::send(socket, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
      return false;
    std::string answer;
    size_t body = 0;
    while (body == 0 || answer.size() < body + page_.size()) {
      pollfd wanted = {socket, POLLIN, 0};
      if (::poll(&wanted, 1, 30'000 * patience()) <= 0) return false;
      char buffer[65536];
      const ssize_t size = ::recv(socket, buffer, sizeof buffer, 0);
      if (size <= 0) return false;
      answer.append(buffer, static_cast<size_t>(size));
      if (const size_t head = answer.find("\r\n\r\n"); head != std::string::npos) body = head + 4;
    }
    return answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.substr(body) == page_;
  }

  std::string page_;
  std::atomic<bool> is_over_ = false;
  std::atomic<int> answers_ = 0, failures_ = 0;
  std::vector<std::thread> threads_;
};

// --- programs that count in /root/count by a timer, and number the lines that come in at port 7000

constexpr const char* kPython = R"(
import asyncio, queue, signal, socketserver, threading, time
ticks = queue.Queue()
def each_tick(number, frame): ticks.put(1)
def write_count():
    number = 0
    with open('/root/count', 'w', buffering=1) as count:
        while True:
            number += ticks.get()
            print(number, file=count)
class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for number, line in enumerate(self.rfile, 1):
            self.wfile.write(b'%d %s' % (number, line))
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
async def sleep_in_turns():
    while True: await asyncio.gather(*(asyncio.sleep(i / 100) for i in range(5)))
def start(work): threading.Thread(target=work, daemon=True).start()
start(write_count)
start(Server(('', 7000), Lines).serve_forever)
start(lambda: asyncio.run(sleep_in_turns()))
threading.Timer(3600, print).start()
signal.signal(signal.SIGALRM, each_tick)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
while True: time.sleep(1000)
)";

constexpr const char* kNode = R"(
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (!isMainThread) {
  let number = 0;
  parentPort.on('message', () => parentPort.postMessage(++number));
} else {
  const fs = require('fs'), net = require('net'), crypto = require('crypto');
  const count = fs.openSync('/root/count', 'w'), worker = new Worker(__filename);
  worker.on('message', number => fs.writeSync(count, number + '\n'));
  setInterval(() => worker.postMessage('tick'), 20);
  setTimeout(() => process.exit(1), 3600 * 1000);
  (function hash() { crypto.pbkdf2('secret', 'salt', 1000, 64, 'sha512', () => setTimeout(hash, 5)); })();
  net.createServer(socket => {
    let number = 0, rest = '';
    socket.on('error', () => {});  // a copy's connections end
    socket.on('data', data => {
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      for (const line of lines) socket.write(++number + ' ' + line + '\n');
    });
  }).listen(7000, '0.0.0.0');
}
)";

constexpr const char* kJava = R"(
import java.io.*;
import java.net.*;
import java.util.*;
import java.util.concurrent.*;
public class Main {
  static void write(BlockingQueue<Integer> ticks) {
    try (PrintWriter count = new PrintWriter(new FileWriter("/root/count"), true)) {
      for (int number = 0;;) count.println(number += ticks.take());
    } catch (Exception e) { e.printStackTrace(); System.exit(1); }
  }
  static void serve(Socket socket) {
    try (BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()))) {
      OutputStream out = socket.getOutputStream();
      String line;
      for (int number = 1; (line = in.readLine()) != null; ++number)
        out.write((number + " " + line + "\n").getBytes());
    } catch (IOException e) { e.printStackTrace(); }
  }
  static void makeGarbage() {
    Map<Integer, byte[]> kept = new HashMap<>();
    for (int i = 0;; ++i) {
      kept.put(i % 100, new byte[10000]);
      if (i % 100 == 0) java.util.concurrent.locks.LockSupport.parkNanos(5_000_000);
    }
  }
  public static void main(String[] words) throws Exception {
    BlockingQueue<Integer> ticks = new LinkedBlockingQueue<>();
    new Thread(() -> write(ticks)).start();
    new Thread(Main::makeGarbage).start();
    Executors.newScheduledThreadPool(2).scheduleAtFixedRate(() -> ticks.add(1), 0, 20, TimeUnit.MILLISECONDS);
    new java.util.Timer().schedule(new TimerTask() { public void run() { System.exit(1); } }, 3600_000);
    ServerSocket server = new ServerSocket(7000);
    while (true) { Socket socket = server.accept(); new Thread(() -> serve(socket)).start(); }
  }
}
)";

// Of the container's first process, which is the program.
std::string threads(const Installation& installation, const std::string& name) {
  return answer(installation, name, "ls /proc/1/task | wc -l; cat /proc/1/comm");
}

// Its timers go on, and its connections with what it keeps of each.
void check_runtime(const std::string& script) {
  const Box box(script);
  REQUIRE_MESSAGE(eventually([&] { return counted(box, "box") > 0; }, 60s), box.holm({"log", "box"}).out);
  Connection connection(box.address(), 7000);
  const auto numbers_lines = [&](int first) {
    connection.send("this\nand that\n");
    CHECK(connection.receives(fmt::format("{} this\n{} and that\n", first, first + 1)));
  };
  numbers_lines(1);
  CHECK(counts_beyond(box, "box", 20));
  for (int generation = 1; generation <= 2; ++generation) {
    CAPTURE(generation);
    const std::string before = threads(box, "box");
    box.suspend_and_start();
    CHECK(threads(box, "box") == before);
    numbers_lines(1 + 2 * generation);
    CHECK(counts_beyond(box, "box", counted(box, "box") + 20));
  }
  box.save_and_run_on();
  numbers_lines(7);
  box.holm_ok({"restore", box.file(), "--name", "copy"});
  for (const char* name : {"box", "copy"}) CHECK(counts_beyond(box, name, counted(box, name) + 20));
  Connection of_copy(box.address("copy"), 7000);
  of_copy.send("hello\n");
  CHECK(of_copy.receives("1 hello\n"));
}

}  // namespace

TEST_CASE("a web server under load is saved, suspended and restored without one failed request") {
  HOLM_REQUIRES_PROGRAMS();
  const Box box(kNginx);
  const std::string page_file = upper_of(box, "box") + "/root/index.html";
  const auto serves = [&](const std::string& name) {
    const std::string address = box.address(name);
    return eventually([&] { return http_get(address, 80).find("line 2000 of") != std::string::npos; });
  };
  CHECK(serves("box"));
  Visitors visitors(box.address(), read_file(page_file), 4);
  CHECK(visitors.have_more(50));
  for (int round = 1; round <= 3; ++round) {
    CAPTURE(round);
    box.save_and_run_on();
    CHECK(visitors.have_more(20));
    box.holm_ok({"checkpoint", "box"});
    CHECK(visitors.have_more(20));
    box.suspend_and_start();
    CHECK(visitors.have_more(20));
  }
  visitors.end();
  CHECK(visitors.failures() == 0);
  MESSAGE("answers: ", visitors.answers());
  box.holm_ok({"restore", box.file(), "--name", "copy"});
  CHECK(serves("copy"));
}

TEST_CASE(
    "a transaction of PostgreSQL that is open when it is saved keeps its locks, and commits afterwards") {
  HOLM_REQUIRES_PROGRAMS();
  const Box box(R"(cd /tmp
export PATH=/usr/lib/postgresql/15/bin:$PATH
setpriv --reuid=postgres --regid=postgres --clear-groups initdb -D /tmp/data > /root/log 2>&1
setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D /tmp/data -k /tmp >> /root/log 2>&1 &
until pg_isready -q -h /tmp; do sleep 0.1; done
psql -q -h /tmp -U postgres -c 'create table t (id int primary key, value int); insert into t values (1, 0)'
mkfifo /root/in; exec 3<> /root/in; touch /root/ready
psql -At -h /tmp -U postgres <&3 > /root/out 2>&1)");
  const auto psql = [&](const std::string& sql) {
    return answer(box, "box", "psql -At -h /tmp -U postgres -c \"" + sql + "\" 2>&1");
  };
  const auto in_transaction = [&](const std::string& sql, const std::string& last_line) {
    inside(box, "box", "echo '" + sql + "' > /root/in");
    const bool is_done = eventually([&] { return answer(box, "box", "tail -n 1 /root/out") == last_line; });
    CHECK_MESSAGE(is_done, sql, ": ", answer(box, "box", "tail /root/out /root/log"));
  };
  REQUIRE(eventually([&] { return inside(box, "box", "test -e /root/ready").status == 0; }, 60s));
  for (int round = 1; round <= 3; ++round) {
    CAPTURE(round);
    in_transaction("begin; update t set value = value + 10 where id = 1 returning value;", "UPDATE 1");
    in_transaction(fmt::format("insert into t select {0} * 10000 + i, i from generate_series(1, 5000) i; "
                               "select count(*) from t;",
                               round),
                   std::to_string(1 + 5000 * round));
    if (round == 2) {
      box.save_and_run_on();
      box.holm_ok({"stop", "--kill", "box"});
      box.holm_ok({"restore", box.file()});
    } else {
      box.suspend_and_start();
    }
    CHECK(psql("select value from t where id = 1") == std::to_string(10 * (round - 1)));
    CHECK(psql("set lock_timeout = 200; update t set value = 0 where id = 1").find("lock timeout") !=
          std::string::npos);
    in_transaction("select count(*), sum(value) from t where id > 10000; commit;", "COMMIT");
    CHECK(psql("select value, (select count(*) from t) from t where id = 1") ==
          fmt::format("{}|{}", 10 * round, 1 + 5000 * round));
  }
  CHECK(psql("checkpoint") == "CHECKPOINT");
  CHECK(psql("vacuum full t") == "VACUUM");
  CHECK(psql("select sum(value) from t where id > 1") == "37507500");
  CHECK(answer(box, "box", "grep -E 'PANIC|terminated|crash|could not' /root/log") == "");
}

TEST_CASE("an editor on the console goes on with text that is in no file yet") {
  HOLM_REQUIRES_PROGRAMS();
  const Box box("TERM=xterm vim.tiny -N -u NONE -n /root/text; sleep 1000");
  const auto edit = [&](const std::string& keys, const std::string& shown) {
    PtyProgram terminal({holm_program(), "console", "box"}, box.environment());
    CHECK(terminal.shows("Ctrl-] leaves it"));
    const bool is_there = eventually([&] {
      terminal.type("\x0c");  // Ctrl-L draws the screen anew
      return terminal.shows("~", 300ms);
    });
    CHECK(is_there);
    terminal.forget();
    terminal.type(keys + "\x0c");
    CHECK(terminal.shows(shown));
    terminal.type("\x1d");
    CHECK(terminal.wait() == 0);
  };
  const std::string text = upper_of(box, "box") + "/root/text";
  edit("ifirst line\rwrong line\x1b", "wrong line");
  box.suspend_and_start();
  edit("u", "before #1");
  edit("\x12", "after #1");  // Ctrl-R: it still knows what it undid
  edit("Gccsecond line\x1b", "second line");
  CHECK_FALSE(sys::exists(text));
  box.suspend_and_start();
  box.save_and_run_on();
  box.holm_ok({"stop", "--kill", "box"});
  box.holm_ok({"restore", box.file()});
  edit("othird line\x1b:w\r", "written");
  CHECK(read_file(text) == "first line\nsecond line\nthird line\n");
}

TEST_CASE("a JVM goes on with its threads, timers and connections") {
  HOLM_REQUIRES_PROGRAMS();
  check_runtime(run("Main.java", kJava, "ecj -17 -proc:none -nowarn Main.java && exec java -Xmx64m Main"));
}

TEST_CASE("Node.js goes on with its threads, timers and connections") {
  HOLM_REQUIRES_PROGRAMS();
  check_runtime(run("main.js", kNode, "exec node main.js"));
}

TEST_CASE("Python goes on with its threads, timers and connections") {
  HOLM_REQUIRES_PROGRAMS();
  check_runtime(run("main.py", kPython, "exec python3 main.py"));
}
