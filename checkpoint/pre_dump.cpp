#include "checkpoint/pre_dump.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/interruption.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/undo.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/criu_rpc.pb.h"
#include "checkpoint/dump.h"
#include "checkpoint/image_file.h"
#include "checkpoint/store.h"
#include "runtime/dump_moment.h"
#include "runtime/host_side.h"
#include "runtime/settle.h"
#include "runtime/suspended.h"

namespace holm::checkpoint {
namespace {

using runtime::Installation;
using runtime::State;

std::string run_of(const State& state) {
  return fmt::format("{} {} {}\n", state.boot_id, state.init.pid, state.init.start_time);
}

// How many levels there are of this run; those of another one, or that were interrupted, are removed.
unsigned count_levels(const std::string& store, const State& state) {
  unsigned levels = 0;
  bool is_whole = read_file_if_exists(store + "/of") == run_of(state);
  for (const std::string& name : list_directory(store)) {
    if (name == "of") continue;
    const auto level = parse_unsigned(name);
    is_whole = is_whole && level;  // "3.new" is not
    levels = std::max(levels, static_cast<unsigned>(level.value_or(0)));
  }
  if (is_whole) return levels;
  sys::remove_tree(store);
  return 0;
}

images::DumpStatistics read_statistics(const std::string& path) {
  const ImageFile image = read_image(path);
  images::Statistics statistics;
  if (image.messages.size() != 1 || !statistics.ParseFromString(image.messages.front()))
    throw Error("CRIU's statistics are damaged");
  return statistics.dump();
}

void require_tracking(const std::string& criu) {
  if (!tracks_memory(criu))
    throw Error("this kernel does not tell which memory was written since (CONFIG_MEM_SOFT_DIRTY)")
        .hint("'holm checkpoint' without --pre saves all of it at once");
}

}  // namespace

PreDumpReport pre_dump(const Installation& installation, const std::string& name,
                       std::optional<std::chrono::seconds> timeout) {
  const Interruption interruption;
  const FileLock lock = runtime::lock_container(installation.paths, name);
  return with_frame(fmt::format("cannot save memory of container '{}'", name), [&] {
    runtime::settle(installation, name);
    DumpTarget target = find_dump_target(installation, name);
    require_tracking(target.criu);
    const std::string store = runtime::pre_dump_store(installation.paths, name);
    unsigned level = count_levels(store, *target.seen.state);
    if (level == kMaxLevels) {
      sys::remove_tree(store);
      level = 0;
    }
    ++level;
    return with_undo([&](UndoStack& undo) {
      undo.push("remove the memory that was saved", [&] { sys::remove_tree(store); });
      sys::make_directories(store, 0700);
      replace_file(store + "/of", run_of(*target.seen.state));
      const std::string images = fmt::format("{}/{}.new", store, level);
      sys::make_directory(images, 0700);
      runtime::DumpMoment moment(installation, target.container, target.seen,
                                 runtime::DumpMoment::Links::as_they_are);
      step("save the memory", [&] {
        rpc::Request request;
        request.set_type(rpc::SINGLE_PRE_DUMP);
        rpc::Options& options = *request.mutable_opts();
        fill_dump_options(options, target, timeout);
        options.set_track_mem(true);
        if (level > 1) set_parent(options, fmt::format("../{}", level - 1));
        CriuWork work = dump_work(target, lock, images);
        work.on_version = [&](const std::string&) {
          moment.freeze(timeout.value_or(kFreezeTimeout));
          moment.thaw_with_criu();
        };
        perform(std::move(request), work);
      });
      moment.goes_on();
      sys::rename(images, fmt::format("{}/{}", store, level));
      const auto statistics = read_statistics(target.run_directory + "/stats-dump");
      undo.dismiss();
      const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
      return PreDumpReport{level, statistics.pages_written() * page, statistics.pages_skipped_parent() * page,
                           moment.stood()};
    });
  });
}

std::string take_pre_dumps(const runtime::Paths& paths, const State& state, const std::string& draft) {
  const std::string store = runtime::pre_dump_store(paths, state.name);
  if (!sys::exists(store)) return "";
  const unsigned levels = count_levels(store, state);
  if (levels == 0) return "";
  sys::rename(store, draft + "/pre");
  return fmt::format("../pre/{}", levels);
}

void keep_pre_dumps(const std::string& draft) {
  const std::string store = draft + "/pre";
  if (!sys::exists(store)) return;
  std::string images = draft + "/images";
  for (unsigned level = kMaxLevels; level > 0; --level) {
    const std::string directory = fmt::format("{}/{}", store, level);
    if (!sys::exists(directory)) continue;
    sys::remove_file(images + "/parent");  // a link to where it is until now
    for (const std::string& name : list_images(directory))
      if (!name.starts_with("pagemap-") && !name.starts_with("pages-"))
        sys::remove_file(directory + "/" + name);
    images += "/parent";
    sys::rename(directory, images);
  }
  sys::remove_tree(store);
}

}  // namespace holm::checkpoint
