#include "runtime/kept_samples.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "runtime/state.h"

namespace holm::runtime {
namespace {

using nlohmann::json;
using quotas::LedgerSample;

constexpr int kFormatVersion = 1;
constexpr const char* kSuffix = ".json";

std::vector<std::string> directories(const Paths& paths) {
  return {paths.state + "/ledger.kept", paths.run + "/.ledger.kept"};
}

quotas::Quantity quantity_from(const std::string& name) {
  const auto found = std::ranges::find(quotas::kQuantities, name);
  if (found == quotas::kQuantities.end()) throw Error(fmt::format("unknown quantity '{}'", name));
  return static_cast<quotas::Quantity>(found - quotas::kQuantities.begin());
}

// What a kernel counts: in 30 years it does not come to more.
uint64_t count_from(const json& value) {
  const auto count = value.get<uint64_t>();
  if (!value.is_number_unsigned() || count > 1'000'000'000'000'000'000)
    throw Error(fmt::format("no kernel counts {}", value.dump()));
  return count;
}

json to_json(const std::optional<uint64_t>& value) { return value ? json(*value) : json(nullptr); }

std::optional<uint64_t> optional_from(const json& value) {
  return value.is_null() ? std::nullopt : std::optional(count_from(value));
}

json to_json(const quotas::RunClock& run) {
  return {
      {"id", run.id}, {"begin_ns", run.begin_ns}, {"until_ns", run.until_ns}, {"has_ended", run.has_ended}};
}

quotas::RunClock run_from(const json& value) {
  return {value.at("id"), value.at("begin_ns"), value.at("until_ns"), value.at("has_ended")};
}

}  // namespace

std::string encode_sample(const LedgerSample& sample) {
  json value = {{"version", kFormatVersion},
                {"uuid", sample.uuid},
                {"name", sample.name},
                {"boot_id", sample.boot_id},
                {"boottime_ns", sample.boottime_ns},
                {"walltime_ns", sample.walltime_ns},
                {"memory_held", to_json(sample.memory_held)},
                {"memory_peak", to_json(sample.memory_peak)},
                {"memory_life", sample.memory_life},
                {"counters_life", sample.counters_life},
                {"meters", json::array()},
                {"counters", json::array()}};
  if (sample.run) value["run"] = to_json(*sample.run);
  for (const quotas::Meter& meter : sample.meters)
    value["meters"].push_back(
        {quotas::kQuantities[static_cast<size_t>(meter.quantity)], meter.source, meter.life, meter.total});
  for (const quotas::CounterReading& counter : sample.counters)
    value["counters"].push_back({counter.name, counter.held, counter.peak, counter.failures});
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

LedgerSample decode_sample(const std::string& text) {
  try {
    const json value = json::parse(text);
    if (value.at("version").get<int>() > kFormatVersion) throw Error("written by a newer version of Holm");
    LedgerSample sample;
    sample.uuid = value.at("uuid");
    sample.name = value.at("name");
    sample.boot_id = value.at("boot_id");
    sample.boottime_ns = value.at("boottime_ns");
    sample.walltime_ns = value.at("walltime_ns");
    sample.memory_held = optional_from(value.at("memory_held"));
    sample.memory_peak = optional_from(value.at("memory_peak"));
    sample.memory_life = value.at("memory_life");
    sample.counters_life = value.at("counters_life");
    if (value.contains("run")) sample.run = run_from(value.at("run"));
    for (const json& meter : value.at("meters"))
      sample.meters.push_back(
          {quantity_from(meter.at(0)), meter.at(1), meter.at(2), count_from(meter.at(3))});
    for (const json& counter : value.at("counters"))
      sample.counters.push_back(
          {counter.at(0), count_from(counter.at(1)), count_from(counter.at(2)), count_from(counter.at(3))});
    return sample;
  } catch (const json::exception& failure) {
    throw Error(fmt::format("not a kept sample: {}", failure.what()));
  }
}

namespace {

// One that is no file keeps nobody waiting. Nothing where it is gone.
std::optional<std::string> read_kept(const std::string& path) {
  const auto file = sys::open_if_exists(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!file) return std::nullopt;
  if (!S_ISREG(sys::stat_fd(file->get(), path).st_mode)) throw Error("it is no file");
  return read_fd(file->get(), path);
}

}  // namespace

void keep_sample(const Paths& paths, const LedgerSample& sample, LedgerDisk disk) {
  const std::string name = fmt::format("/{}-{:020}{}", sample.uuid, sample.boottime_ns, kSuffix);
  const std::string text = encode_sample(sample);
  const auto places = directories(paths);
  bool is_kept = false;
  if (disk == LedgerDisk::answers)
    ignore_errors([&] {  // it may be full
      sys::make_directories(places[0], 0700);
      write_file_durably(places[0] + name, text);
      is_kept = true;
    });
  if (is_kept) return;
  sys::make_directories(places[1], 0700);
  replace_file(places[1] + name, text);
}

std::vector<KeptFile> kept_samples(const Paths& paths, const std::string& uuid,
                                   std::vector<std::string>& warnings) {
  std::vector<KeptFile> files;
  for (const std::string& directory : directories(paths)) {
    for (const std::string& name : list_directory(directory)) {
      if (!name.starts_with(uuid) || !name.ends_with(kSuffix)) continue;
      const std::string path = directory + "/" + name;
      try {
        const auto text = read_kept(path);
        if (text) files.push_back({path, {name, decode_sample(*text)}});
      } catch (const Error& error) {
        warnings.push_back(fmt::format("read '{}': {}", path, error.message()));
      }
    }
  }
  // Within a boot by the clock that nobody sets; boots, of which this one is the last, by when they were.
  std::map<std::string, int64_t> boots;
  for (const KeptFile& file : files) {
    const LedgerSample& sample = file.kept.sample;
    const auto [boot, is_new] = boots.try_emplace(sample.boot_id, sample.walltime_ns);
    if (!is_new) boot->second = std::min(boot->second, sample.walltime_ns);
  }
  if (const auto now = boots.find(current_boot_id()); now != boots.end()) now->second = INT64_MAX;
  std::ranges::stable_sort(files, {}, [&](const KeptFile& file) {
    const LedgerSample& sample = file.kept.sample;
    return std::tuple(boots[sample.boot_id], sample.boot_id, sample.boottime_ns);
  });
  return files;
}

void remove_kept(const std::string& path) {
  ignore_errors([&] {  // its id is in the ledger
    sys::remove_file(path);
    sys::remove_directory(path.substr(0, path.rfind('/')));
  });
}

}  // namespace holm::runtime
