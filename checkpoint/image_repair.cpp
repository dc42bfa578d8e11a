#include "checkpoint/image_repair.h"

#include <fmt/core.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/rewrite_images.h"

namespace holm::checkpoint {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t read_clock(clockid_t clock) {
  timespec time = {};
  ::clock_gettime(clock, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

void set_time(images::ClockTime& time, int64_t nanoseconds) {
  time.set_tv_sec(static_cast<uint64_t>(nanoseconds / kSecond));
  time.set_tv_nsec(static_cast<uint64_t>(nanoseconds % kSecond));
}

// How long after `begin` this file was written. Rounded up: files have the time of the kernel's last tick.
int64_t written_after(const std::string& path, int64_t begin) {
  constexpr int64_t kTick = 10'000'000;
  const auto status = sys::stat_path(path);
  if (!status) return 0;
  const int64_t written = status->st_mtim.tv_sec * kSecond + status->st_mtim.tv_nsec;
  return std::max<int64_t>(0, written + kTick - begin);
}

// Not the wall clock, and none that counts processor time.
bool is_set_back(uint32_t clock) {
  return clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM;
}

template <class Timer>
void add_nanoseconds(Timer& timer, int64_t added) {
  if (timer.vsec() == 0 && timer.vnsec() == 0) return;  // it is not armed
  const auto left = timer.vnsec() + static_cast<uint64_t>(added);
  timer.set_vsec(timer.vsec() + left / kSecond);
  timer.set_vnsec(left % kSecond);
}

void add_nanoseconds(images::IntervalTimer& timer, int64_t added) {
  if (timer.vsec() == 0 && timer.vusec() == 0) return;
  const auto left = timer.vusec() + static_cast<uint64_t>(added / 1000);
  timer.set_vsec(timer.vsec() + left / 1'000'000);
  timer.set_vusec(left % 1'000'000);
}

void set_back_timers_of_process(images::Timers& timers, int64_t lost) {
  add_nanoseconds(*timers.mutable_real(), lost);
  for (images::PosixTimer& timer : *timers.mutable_posix())
    if (is_set_back(timer.clock_id())) add_nanoseconds(timer, lost);
}

}  // namespace

ContainerClocks read_container_clocks(pid_t process) {
  ContainerClocks clocks = {read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_BOOTTIME),
                            read_clock(CLOCK_REALTIME)};
  // "monotonic -12 345": seconds and nanoseconds that are added to the host's. Hosts without time namespaces
  // have no such file.
  for (const std::string& line :
       split(read_file_if_exists(fmt::format("/proc/{}/timens_offsets", process)).value_or(""), '\n')) {
    const auto words = split_words(line);
    if (words.size() != 3) continue;
    const int64_t offset = parse_signed(words[1]).value_or(0) * kSecond + parse_signed(words[2]).value_or(0);
    if (words[0] == "monotonic") clocks.monotonic += offset;
    if (words[0] == "boottime") clocks.boottime += offset;
  }
  return clocks;
}

void set_saved_clocks(const std::string& images, const ContainerClocks& clocks) {
  rewrite_each<images::Clocks>(images, "timens-", [&](images::Clocks& saved) {
    set_time(*saved.mutable_monotonic(), clocks.monotonic);
    set_time(*saved.mutable_boottime(), clocks.boottime);
  });
}

void set_back_timers(const std::string& images, const ContainerClocks& clocks) {
  std::map<uint32_t, int64_t> lost_of_file;  // by its number; the first process that has it open is the one
  for (const std::string& name : list_directory(images)) {
    const std::string path = images + "/" + name;
    const bool is_core = name.starts_with("core-"), is_descriptors = name.starts_with("fdinfo-");
    if (!name.ends_with(".img") || !(is_core || is_descriptors)) continue;
    const int64_t lost = written_after(path, clocks.host_realtime);
    if (is_core)
      rewrite_each<images::Core>(images, name, [&](images::Core& core) {
        if (core.tc().has_timers()) set_back_timers_of_process(*core.mutable_tc()->mutable_timers(), lost);
      });
    else
      rewrite_each<images::Descriptor>(images, name, [&](const images::Descriptor& descriptor) {
        const auto [known, is_new] = lost_of_file.emplace(descriptor.id(), lost);
        if (!is_new) known->second = std::min(known->second, lost);
      });
  }
  rewrite_each<images::File>(images, "files.img", [&](images::File& file) {
    if (!file.has_tfd() || !is_set_back(file.tfd().clockid())) return;
    if (const auto lost = lost_of_file.find(file.id()); lost != lost_of_file.end())
      add_nanoseconds(*file.mutable_tfd(), lost->second);
  });
}

void repair_timers(const std::string& images) {
  rewrite_each<images::File>(images, "files.img", [](images::File& file) {
    if (!file.has_tfd()) return;
    images::TimerFd& timer = *file.mutable_tfd();
    const bool is_periodic = timer.isec() != 0 || timer.insec() != 0;
    // Where it expired while it stood still, the kernel shows no time to the next expiration: none would
    // come.
    if (is_periodic && timer.vsec() == 0 && timer.vnsec() == 0 && timer.ticks() > 0) {
      timer.set_vsec(timer.isec());
      timer.set_vnsec(timer.insec());
    }
    // The value is what is left, as the kernel tells it.
    timer.set_settime_flags(timer.settime_flags() & ~static_cast<uint32_t>(TFD_TIMER_ABSTIME));
  });
}

}  // namespace holm::checkpoint
