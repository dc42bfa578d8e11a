// libsystemd, loaded when it is needed: only the first start on a host whose groups systemd manages does.
#include "quotas/systemd_bus.h"

#include <fmt/core.h>
#include <systemd/sd-bus.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/shared_library.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr const char* kDestination = "org.freedesktop.systemd1";
constexpr const char* kObject = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kUnitExists = "org.freedesktop.systemd1.UnitExists";
// How long systemd may take, for each answer and for the job.
constexpr auto kPatience = 10s;

struct Library {
  SharedLibrary handle{"libsystemd.so.0", "libsystemd0"};
  decltype(&sd_bus_open_system) open_system;
  decltype(&sd_bus_flush_close_unref) close;
  decltype(&sd_bus_set_method_call_timeout) set_timeout;
  decltype(&sd_bus_add_match) add_match;
  decltype(&sd_bus_call_method) call_method;
  decltype(&sd_bus_process) process;
  decltype(&sd_bus_wait) wait;
  decltype(&sd_bus_message_read) read;
  decltype(&sd_bus_message_unref) unref_message;
  decltype(&sd_bus_error_free) free_error;
};

Library load_library() {
  Library out{};
  const SharedLibrary& library = out.handle;
  library.resolve("sd_bus_open_system", out.open_system);
  library.resolve("sd_bus_flush_close_unref", out.close);
  library.resolve("sd_bus_set_method_call_timeout", out.set_timeout);
  library.resolve("sd_bus_add_match", out.add_match);
  library.resolve("sd_bus_call_method", out.call_method);
  library.resolve("sd_bus_process", out.process);
  library.resolve("sd_bus_wait", out.wait);
  library.resolve("sd_bus_message_read", out.read);
  library.resolve("sd_bus_message_unref", out.unref_message);
  library.resolve("sd_bus_error_free", out.free_error);
  return out;
}

// What a call failed with: systemd's own words where it answered.
struct Refusal {
  std::string name;
  std::string message;
};

// A connection to the system's bus on which the ends of systemd's jobs are heard.
class Bus {
 public:
  Bus();
  // Calls the manager's method; nothing where it worked. `out` takes the object path that is answered.
  template <class... Arguments>
  std::optional<Refusal> call(const char* method, std::string& out, const char* types,
                              Arguments... arguments);
  // How the job ended: "done", "failed", "canceled", "timeout", "dependency", "skipped".
  std::string await_job(const std::string& job);

 private:
  static int note_removed_job(sd_bus_message* message, void* self, sd_bus_error*);
  void require(int result, const char* action) const;

  Library library_ = load_library();
  std::unique_ptr<sd_bus, decltype(Library::close)> bus_{nullptr, library_.close};
  std::map<std::string, std::string> ended_jobs_;  // a signal may come before the answer that names its job
};

Bus::Bus() {
  sd_bus* bus = nullptr;
  if (const int result = library_.open_system(&bus); result < 0)
    throw Error::system(-result, "connect to the system's D-Bus")
        .hint("Holm asks systemd over it for a place for its groups; install Debian's package dbus");
  bus_.reset(bus);
  library_.set_timeout(bus, std::chrono::microseconds(kPatience).count());
  require(library_.add_match(bus, nullptr,
                             "type='signal',sender='org.freedesktop.systemd1',"
                             "interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
                             note_removed_job, this),
          "listen to systemd's jobs");
}

void Bus::require(int result, const char* action) const {
  if (result < 0) throw Error::system(-result, action);
}

int Bus::note_removed_job(sd_bus_message* message, void* self, sd_bus_error*) {
  auto& bus = *static_cast<Bus*>(self);
  uint32_t number = 0;
  const char *job = nullptr, *unit = nullptr, *result = nullptr;
  if (bus.library_.read(message, "uoss", &number, &job, &unit, &result) >= 0) bus.ended_jobs_[job] = result;
  return 0;
}

template <class... Arguments>
std::optional<Refusal> Bus::call(const char* method, std::string& out, const char* types,
                                 Arguments... arguments) {
  sd_bus_error error = {};
  sd_bus_message* reply = nullptr;
  const int result = library_.call_method(bus_.get(), kDestination, kObject, kManager, method, &error, &reply,
                                          types, arguments...);
  const std::unique_ptr<sd_bus_message, decltype(library_.unref_message)> owned(reply,
                                                                                library_.unref_message);
  if (result < 0) {
    Refusal refusal{error.name ? error.name : "", error.message ? error.message : describe_errno(-result)};
    library_.free_error(&error);
    return refusal;
  }
  const char* path = nullptr;
  require(library_.read(reply, "o", &path), "read systemd's answer");
  out = path;
  return std::nullopt;
}

std::string Bus::await_job(const std::string& job) {
  const auto end = Clock::now() + kPatience;
  for (;;) {
    if (const auto found = ended_jobs_.find(job); found != ended_jobs_.end()) return found->second;
    const int handled = library_.process(bus_.get(), nullptr);
    require(handled, "hear of systemd's job");
    if (handled > 0) continue;
    const auto left = std::chrono::duration_cast<std::chrono::microseconds>(end - Clock::now());
    if (left.count() <= 0) return "not finished within 10 s";
    require(library_.wait(bus_.get(), static_cast<uint64_t>(left.count())), "wait for systemd's job");
  }
}

}  // namespace

// Before=holm.service: units are stopped in the reverse order, so that when the host goes down that service
// stops the containers one by one before systemd ends the scope. All properties are known to systemd 236.
ScopeStart start_scope_by_bus(const std::string& unit, pid_t process) {
  const std::string action = fmt::format("start systemd's unit '{}'", unit);
  const std::string description = "Holm's containers and their monitors";
  Bus bus;
  std::string job;
  const auto refusal = bus.call("StartTransientUnit", job, "ssa(sv)a(sa(sv))",  //
                                unit.c_str(), "fail", 7,                        //
                                "Description", "s", description.c_str(),        //
                                "Slice", "s", kScopeSlice,                      //
                                "Delegate", "b", 1,                             //
                                "TasksMax", "t", UINT64_MAX,                    //
                                "CollectMode", "s", "inactive-or-failed",       //
                                "Before", "as", 1, "holm.service",              //
                                "PIDs", "au", 1, static_cast<uint32_t>(process), 0);
  if (refusal && refusal->name == kUnitExists) return ScopeStart::unit_exists;
  if (refusal) throw Error(fmt::format("{}: {}", action, refusal->message));
  const std::string result = bus.await_job(job);
  if (result != "done")
    throw Error(fmt::format("{}: its job is {}", action, result))
        .hint(fmt::format("'journalctl -u {}' tells why", unit));
  return ScopeStart::done;
}

void check_systemd() {
  Bus bus;
  std::string unit;
  if (const auto refusal = bus.call("GetUnit", unit, "s", "-.slice"))
    throw Error(fmt::format("ask systemd for its units: {}", refusal->message));
}

}  // namespace holm::quotas
