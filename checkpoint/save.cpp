#include "checkpoint/save.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <ctime>
#include <optional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/interruption.h"
#include "base/step.h"
#include "base/sys.h"
#include "checkpoint/criu.h"
#include "checkpoint/criu_rpc.pb.h"
#include "checkpoint/digest.h"
#include "checkpoint/dump.h"
#include "checkpoint/event_semaphores.h"
#include "checkpoint/external_objects.h"
#include "checkpoint/files.h"
#include "checkpoint/host_facts.h"
#include "checkpoint/image_repair.h"
#include "checkpoint/image_terminals.h"
#include "checkpoint/message_queues.pb.h"
#include "checkpoint/pre_dump.h"
#include "checkpoint/process_list.h"
#include "checkpoint/queue_contents.h"
#include "checkpoint/store.h"
#include "netsetup/network_settings.h"
#include "netsetup/nic_spec.h"
#include "netsetup/process_sockets.h"
#include "runtime/counters.h"
#include "runtime/dump_moment.h"
#include "runtime/host_side.h"
#include "runtime/lifecycle.h"
#include "runtime/settle.h"
#include "storage/template_store.h"

namespace holm::checkpoint {
namespace {

using runtime::Condition;
using runtime::Installation;
using runtime::Observation;
using runtime::StoredContainer;
using Clock = std::chrono::steady_clock;

// For a look that CRIU repeats while the processes stand still.
constexpr std::chrono::milliseconds kPatience(1000);
// Before it is tried again where a state stood in the way that soon ends by itself, such as a message to
// journald that this has not read yet, or that began after the look for obstacles.
constexpr std::chrono::milliseconds kPauses[] = {std::chrono::milliseconds(100),
                                                 std::chrono::milliseconds(400)};

// The first in the error's own words, the others behind it.
void refuse_obstacles(const std::vector<Obstacle>& obstacles) {
  if (obstacles.empty()) return;
  Error error(describe(obstacles.front()));
  if (!obstacles.front().cure.empty()) error.hint(obstacles.front().cure);
  for (size_t i = 1; i < std::min<size_t>(obstacles.size(), 8); ++i) error.also(describe(obstacles[i]));
  if (obstacles.size() > 1) error.hint("'holm check NAME' lists all of it");
  throw error;
}

class Save {
 public:
  Save(const Installation& installation, const std::string& name, const SaveOptions& options,
       const FileLock& lock)
      : installation_(installation),
        options_(options),
        lock_(lock),
        target_(find_dump_target(installation, name)) {}

  SaveReport run();

 private:
  void look_for_obstacles();
  void describe();
  void fill_request(rpc::Options& request) const;
  void dump(Draft& draft);
  void try_to_dump(Draft& draft, const std::string& parent);
  void when_dumped(Draft& draft, runtime::DumpMoment& moment);
  void complete(Draft& draft);
  void check_time() const;

  const Installation& installation_;
  const SaveOptions& options_;
  const FileLock& lock_;
  DumpTarget target_;
  ExternalObjects externals_;
  QueueObjects queues_;
  UniqueFd queue_file_system_;
  std::set<uint32_t> semaphores_;
  std::optional<ContainerClocks> clocks_;
  SaveReport report_;
  std::optional<Clock::time_point> give_up_;  // while its processes stand still
  bool is_announced_ = false;
};

SaveReport Save::run() {
  Interruption::check();
  step("look for obstacles", [&] { look_for_obstacles(); });
  step("look at the container", [&] { describe(); });
  Draft draft(installation_.paths, target_.container.name, options_.tag);
  dump(draft);
  if (options_.afterwards == Afterwards::run_on) complete(draft);
  report_.directory = draft.directory();
  return std::move(report_);
}

void Save::look_for_obstacles() {
  PreflightReport found = lasting_preflight(installation_, target_.container, target_.seen, kPatience);
  report_.losses = std::move(found.warnings);
  queues_ = std::move(found.queues);
  refuse_obstacles(found.obstacles);
}

void Save::describe() {
  const runtime::ContainerSpec& spec = target_.container.config.spec;
  Manifest& manifest = report_.manifest;
  const std::vector<pid_t> processes = target_.cgroup->processes();
  externals_ = find_external_objects(target_.seen.state->init.pid, processes, spec);
  queue_file_system_ = open_queue_file_system(target_.seen.state->init.pid);
  manifest.holm = HOLM_VERSION;
  manifest.name = target_.container.name;
  manifest.uuid = target_.container.identity.uuid;
  manifest.config = target_.container.config.text;
  manifest.started_at = target_.seen.state->started_at;
  manifest.was_paused = target_.seen.condition == Condition::paused;
  manifest.first_id = spec.security.user_namespace ? target_.container.identity.ids.first : 0;
  manifest.console = externals_.console;
  manifest.mounts = externals_.mounts;
  manifest.pipes = externals_.pipes;
  manifest.host = read_host_facts();
  if (spec.root.kind == runtime::RootKind::directory) {
    manifest.files = Files::shared;
  } else {
    manifest.template_made =
        storage::TemplateStore(installation_.paths.templates()).find(spec.root.template_name).created;
    manifest.files = options_.with_files ? Files::archived : Files::in_place;
  }
  for (const auto& link : runtime::plan_network(installation_, target_.container).links) {
    SavedLink saved{link.container_name, netsetup::format_mac(link.mac), {}};
    for (const auto& address : link.addresses)
      saved.addresses.push_back(netsetup::format_interface_address(address));
    manifest.links.push_back(std::move(saved));
  }
  if (spec.networks.front().mode != netsetup::NicMode::host) {
    const UniqueFd network =
        sys::open(fmt::format("/proc/{}/ns/net", target_.seen.state->init.pid), O_RDONLY);
    manifest.network_settings = netsetup::read_network_settings(network.get());
  }
  manifest.processes = describe_processes(processes);
}

void Save::fill_request(rpc::Options& request) const {
  fill_dump_options(request, target_, options_.timeout);
  request.set_leave_running(options_.afterwards == Afterwards::run_on);
  fill_common_options(request);
  request.set_tcp_skip_in_flight(true);
  request.set_ghost_limit(UINT32_MAX);  // deleted files that are still open come along
  const auto queues = queue_file_externals(*target_.cgroup, queues_);
  for (const auto* externals : {&externals_.options, &queues_.externals, &queues})
    for (const std::string& external : *externals) request.add_external(external);
  for (const SavedLink& link : report_.manifest.links)
    request.add_external(fmt::format("netdev[{}]:{}", link.name, link.name));
}

void Save::dump(Draft& draft) {
  const std::string parent = take_pre_dumps(installation_.paths, *target_.seen.state, draft.directory());
  for (const auto pause : kPauses) {
    try {
      return try_to_dump(draft, parent);
    } catch (const PassingFailure&) {
      // It has taken away from earlier images what was new: a second one could not build on them.
      if (!parent.empty()) throw;
    }
    Interruption::check();
    std::this_thread::sleep_for(pause);
    draft.empty_images();
    step("look for obstacles", [&] { look_for_obstacles(); });
  }
  try_to_dump(draft, parent);
}

void Save::try_to_dump(Draft& draft, const std::string& parent) {
  runtime::DumpMoment moment(installation_, target_.container, target_.seen,
                             runtime::DumpMoment::Links::silent);
  give_up_.reset();
  const auto freeze = [&] {
    moment.freeze(options_.timeout.value_or(kFreezeTimeout));
    if (options_.timeout) give_up_ = Clock::now() + *options_.timeout;
    clocks_ = read_container_clocks(target_.seen.state->init.pid);
  };
  // What CRIU is to pass over must not change any more when it is told.
  if (queues_.are_open) freeze();
  rpc::Request request;
  request.set_type(rpc::DUMP);
  fill_request(*request.mutable_opts());
  if (!parent.empty()) set_parent(*request.mutable_opts(), parent);
  CriuWork work = dump_work(target_, lock_, draft.images());
  work.on_version = [&](const std::string& version) { report_.manifest.host.criu = version; };
  work.watch.look = [&] { check_time(); };
  work.on_event = [&](const std::string& event, pid_t) {
    if (event == "pre-dump" && !moment.stands()) freeze();
    if (event == "post-dump") when_dumped(draft, moment);
  };
  step("save the processes", [&] { perform(std::move(request), work); });
  give_up_.reset();
  options_.afterwards == Afterwards::stop ? moment.has_ended() : moment.goes_on();
  report_.frozen = moment.stood();
}

// The processes stand still, and end or go on when this returns; an Error lets them go on.
void Save::when_dumped(Draft& draft, runtime::DumpMoment& moment) {
  // What CRIU did to them for its sake it has no more use for: should it be killed, they run on as they are.
  netsetup::leave_tcp_repair(target_.cgroup->processes());
  step("save the cgroups",
       [&] { report_.manifest.groups = quotas::save_groups(*target_.cgroup, report_.manifest.first_id); });
  step("look for semaphores",
       [&] { semaphores_ = find_semaphores(target_.cgroup->processes(), draft.images()); });
  if (queue_file_system_)
    step("save the message queues", [&] {
      write_queues(draft.images(), save_queues(queue_file_system_.get(), *target_.cgroup, queues_,
                                               report_.manifest.first_id));
    });
  if (report_.manifest.files != Files::in_place)
    step("note what it has counted",
         [&] { report_.manifest.counters = runtime::counters_to_take_along(installation_, target_.seen); });
  if (report_.manifest.files == Files::archived)
    step("archive the files",
         [&] { archive_files(installation_.paths, target_.container.name, draft.directory()); });
  check_time();
  if (options_.afterwards == Afterwards::run_on) return;
  complete(draft);
  moment.announce_end();
  is_announced_ = true;
}

// Once the end is announced there is a complete checkpoint, and nothing is given up any more.
void Save::check_time() const {
  if (is_announced_) return;
  Interruption::check();
  if (give_up_ && Clock::now() > *give_up_)
    throw Error(
        fmt::format("its processes stood still for {} s and were not saved", options_.timeout->count()))
        .hint("'--timeout' allows more time");
}

void Save::complete(Draft& draft) {
  // Before any other change of images, whose times of writing it goes by.
  if (clocks_)
    step("note the time", [&] {
      set_back_timers(draft.images(), *clocks_);
      set_saved_clocks(draft.images(), *clocks_);
    });
  step("keep the memory that was saved before", [&] { keep_pre_dumps(draft.directory()); });
  step("name the message queues", [&] { name_queues(draft.images(), queues_); });
  step("name the semaphores", [&] { name_semaphores(draft.images(), semaphores_); });
  step("name the terminals", [&] { name_terminals_of_sessions(draft.images()); });
  report_.manifest.saved_at = std::time(nullptr);
  step("digest the parts", [&] {
    Manifest& manifest = report_.manifest;
    manifest.digest_kind = options_.with_files ? DigestKind::sha256 : DigestKind::xxh128;
    manifest.parts = digest_parts(draft.directory(), manifest.digest_kind);
  });
  check_time();
  step("write the manifest", [&] { write_manifest(draft.directory(), report_.manifest); });
  if (options_.deliver) return step("deliver the checkpoint", [&] { options_.deliver(draft.directory()); });
  // Until it is known that its processes have ended with it.
  if (report_.manifest.files == Files::in_place) mark_untrue(draft.directory());
  step("keep the checkpoint", [&] { draft.keep(); });
}

}  // namespace

SaveReport save(const Installation& installation, const std::string& name, const SaveOptions& options) {
  check_tag(options.tag);
  const Interruption interruption;
  const FileLock lock = runtime::lock_container(installation.paths, name);
  return with_frame(fmt::format("cannot save container '{}'", name), [&] {
    runtime::settle(installation, name);
    SaveReport report = Save(installation, name, options, lock).run();
    if (options.afterwards == Afterwards::stop)
      step("await the monitor", [&] { runtime::await_end(installation, name); });
    if (report.manifest.files == Files::in_place) unmark_untrue(report.directory);
    return report;
  });
}

PreflightReport check_savable(const Installation& installation, const std::string& name) {
  runtime::adopt_if_orphaned(installation, name);
  const Observation seen = require_savable(installation, name);
  return lasting_preflight(installation, runtime::load_running_container(installation, name), seen,
                           std::chrono::seconds(10));
}

}  // namespace holm::checkpoint
