// Eventfds made with EFD_SEMAPHORE, which CRIU (4.2.1 was seen) brings back as plain ones. The images say of
// each that it is a file from outside; a restore makes it anew and hands it to CRIU. Linux tells of them
// from 6.5 on.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace holm::checkpoint {

// More of them in one container stay plain ones: each is an open file of whoever restores it.
inline constexpr size_t kMaxSemaphores = 256;

// Its number among the kernel's eventfds, by the text of /proc/PID/fdinfo; nothing where it is no semaphore.
std::optional<uint64_t> semaphore_number(std::string_view fdinfo);

// Those of these processes, which stand still, by the ids of their files in the images.
std::set<uint32_t> find_semaphores(const std::vector<pid_t>& processes, const std::string& images);
// Makes the images say that they come from outside.
void name_semaphores(const std::string& images, const std::set<uint32_t>& files);

struct EventSemaphore {
  std::string key;  // by which CRIU asks for it
  UniqueFd fd;
};
// What the images want from outside. Throws where no save has written them.
std::vector<EventSemaphore> make_semaphores(const std::string& images);

}  // namespace holm::checkpoint
