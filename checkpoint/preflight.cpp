#include "checkpoint/preflight.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "base/sys.h"
#include "checkpoint/external_objects.h"
#include "checkpoint/preflight_files.h"
#include "checkpoint/preflight_host.h"
#include "checkpoint/preflight_memory.h"
#include "checkpoint/preflight_mounts.h"
#include "checkpoint/preflight_processes.h"
#include "checkpoint/preflight_sockets.h"
#include "runtime/host_side.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxReported = 200;

// What of init's mounts CRIU is told not to save: "mnt[/dev/null]:node-null" -> "/dev/null".
std::unordered_set<std::string> points_of(const ExternalObjects& objects) {
  constexpr std::string_view kBegin = "mnt[";
  std::unordered_set<std::string> points;
  for (const std::string& option : objects.options)
    if (option.starts_with(kBegin)) points.insert(option.substr(4, option.rfind("]:") - 4));
  return points;
}

class Preflight {
 public:
  Preflight(const runtime::Installation& installation, const runtime::StoredContainer& container, pid_t init,
            std::chrono::milliseconds patience)
      : installation_(installation), container_(container), init_(init), deadline_(patience) {}

  PreflightReport run();

 private:
  void look_at_processes();
  void look_at_mounts();
  void look_inside();
  void look_at_host();
  void add(Findings findings);
  PreflightReport report();

  const runtime::Installation& installation_;
  const runtime::StoredContainer& container_;
  pid_t init_;
  Deadline deadline_;
  Tree tree_;
  std::vector<MountNamespace> mounts_;
  ExternalObjects externals_;
  QueueObjects queues_;
  HostNeeds needs_;
  Findings findings_;
  std::vector<pid_t> in_groups_;
  bool is_complete_ = true;
};

void Preflight::add(Findings findings) {
  findings_.insert(findings_.end(), std::make_move_iterator(findings.begin()),
                   std::make_move_iterator(findings.end()));
}

void Preflight::look_at_processes() {
  ProcessRules rules;
  rules.has_user_namespace = container_.config.spec.security.user_namespace;
  rules.may_read_limits = may_read_limits();
  // The groups first: what is born afterwards is then only in the tree, and no stranger.
  const auto cgroup = runtime::container_cgroup(installation_.paths, container_.identity.number);
  rules.has_v1_freezer = sys::exists(cgroup->freezer_directory() + "/freezer.state");
  in_groups_ = cgroup->processes();
  tree_ = find_tree(init_, deadline_);
  if (tree_.tasks.empty()) throw runtime::not_running(container_.name);
  is_complete_ = is_complete_ && tree_.is_complete;
  if (!tree_.has_children_files)
    add({{0,
          {Severity::obstacle, "this kernel", "it was built without lists of children, which CRIU needs",
           "boot one with CONFIG_PROC_CHILDREN"}}});
  add(judge_tree(tree_, {in_groups_, cgroup->processes()}, rules, deadline_));
}

void Preflight::look_at_mounts() {
  mounts_ = read_mount_namespaces(tree_, deadline_, is_complete_);
  if (mounts_.empty()) throw runtime::not_running(container_.name);
  externals_ = find_external_objects(init_, in_groups_, container_.config.spec);
  add(judge_mounts(mounts_, points_of(externals_)));
  queues_ = find_queue_mounts(mounts_, points_of(externals_));
}

void Preflight::look_inside() {
  FileRules rules = file_rules(tree_, mounts_);
  rules.console = externals_.console;
  if (queues_.mount) rules.queues = queues_.mount->device;
  rules.given_pipes.insert(externals_.pipes.begin(), externals_.pipes.end());
  MemorySearch memory(tree_, rules, deadline_);
  HeldFiles held = find_held_files(tree_, rules, deadline_);
  add(std::move(held.findings));
  queues_.are_open = held.has_queues;
  const SocketLists lists = list_sockets(tree_, held.sockets, deadline_);
  add(judge_sockets(held.sockets, lists));
  for (const NetworkLink& link : lists.links)
    if (auto finding = judge_link(link)) add({{0, std::move(*finding)}});
  for (const auto& [inode, socket] : held.sockets) {
    needs_.has_internet_sockets |= socket.protocol.starts_with("TCP") || socket.protocol.starts_with("UDP");
    needs_.has_ping_sockets |= socket.protocol.starts_with("PING");
  }
  is_complete_ = is_complete_ && held.is_complete && lists.is_complete;
  add(memory.take(deadline_, is_complete_));
}

void Preflight::look_at_host() {
  if (!container_.config.spec.security.migratable)
    add({{0,
          {Severity::obstacle, "config key 'security.migratable'",
           "it is false: the container is not to be saved",
           "set it to true, for the container's next start"}}});
  needs_.has_network = container_.config.spec.networks.front().mode != netsetup::NicMode::host;
  const UniqueFd network = open_process_directory(init_, "net");
  for (const char* tables : {"ip_tables_names", "ip6_tables_names"})
    needs_.has_iptables |=
        needs_.has_network && network && !read_begin(network.get(), tables, 4096).value_or("").empty();
  needs_.has_tmpfs = std::ranges::any_of(mounts_, [](const MountNamespace& one) {
    return std::ranges::any_of(one.mounts,
                               [](const ListedMount& mount) { return mount.entry.type == "tmpfs"; });
  });
  for (Finding& finding : judge_host(needs_)) add({{0, std::move(finding)}});
}

PreflightReport Preflight::report() {
  PreflightReport report;
  report.is_complete = is_complete_;
  report.queues = std::move(queues_);
  const size_t level = tree_.init().inside.empty() ? 0 : tree_.init().inside.size() - 1;
  std::set<std::tuple<pid_t, std::string, std::string>> told;
  for (auto& [process, finding] : findings_) {
    if (!told.emplace(process, finding.object, finding.why).second) continue;
    auto& list = finding.severity == Severity::obstacle  ? report.obstacles
                 : finding.severity == Severity::warning ? report.warnings
                                                         : report.delays;
    if (list.size() >= kMaxReported) {
      report.is_complete = false;
      continue;
    }
    Obstacle obstacle{0,
                      "",
                      std::move(finding.object),
                      std::move(finding.why),
                      std::move(finding.cure),
                      std::move(finding.identity)};
    const auto place = tree_.places.find(process);
    if (place != tree_.places.end()) {
      const Task& task = tree_.tasks[place->second];
      obstacle.pid = level < task.inside.size() ? task.inside[level] : 0;
      obstacle.program = task.program;
    } else if (process != 0) {
      if (const auto task = read_task(process)) {
        obstacle.pid = level < task->inside.size() ? task->inside[level] : 0;
        obstacle.program = task->program;
      }
    }
    list.push_back(std::move(obstacle));
  }
  return report;
}

PreflightReport Preflight::run() {
  look_at_processes();
  look_at_mounts();
  look_inside();
  look_at_host();
  return report();
}

}  // namespace

std::string describe(const Obstacle& obstacle) {
  const std::string whose = obstacle.pid == 0
                                ? "the container"
                                : fmt::format("process {} ('{}') in it", obstacle.pid, obstacle.program);
  return fmt::format("{}: {}: {}", whose, obstacle.object, obstacle.why);
}

PreflightReport preflight(const runtime::Installation& installation,
                          const runtime::StoredContainer& container, const runtime::Observation& seen,
                          std::chrono::milliseconds patience) {
  if (!seen.has_init() || !seen.state) throw runtime::not_running(container.name);
  PreflightReport report = Preflight(installation, container, seen.state->init.pid, patience).run();
  // What was read may be of another process that got init's number.
  if (sys::pidfd_wait_ended(seen.init.get(), std::chrono::milliseconds(0)))
    throw runtime::not_running(container.name);
  return report;
}

void keep_alike(std::vector<Obstacle>& found, const std::vector<Obstacle>& before) {
  std::erase_if(found, [&](const Obstacle& one) {
    return std::ranges::none_of(before, [&](const Obstacle& other) {
      return other.pid == one.pid && other.why == one.why && other.identity == one.identity;
    });
  });
}

PreflightReport lasting_preflight(const runtime::Installation& installation,
                                  const runtime::StoredContainer& container, const runtime::Observation& seen,
                                  std::chrono::milliseconds patience) {
  constexpr int kLooks = 3;
  PreflightReport report = preflight(installation, container, seen, patience);
  for (int look = 1; look < kLooks && !(report.obstacles.empty() && report.delays.empty()); ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    PreflightReport now = preflight(installation, container, seen, patience);
    keep_alike(now.obstacles, report.obstacles);
    keep_alike(now.delays, report.delays);
    now.is_complete = now.is_complete && report.is_complete;
    report = std::move(now);
  }
  return report;
}

}  // namespace holm::checkpoint
