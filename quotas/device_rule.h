// The device allow-list of a container.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace holm::quotas {

struct DeviceRule {
  char type = 'c';                // 'c' or 'b'
  std::optional<unsigned> major;  // nothing: any
  std::optional<unsigned> minor;
  std::string access = "rwm";  // of r (read), w (write), m (mknod)
};

// null zero full random urandom tty ptmx, all pts slaves and the console (a pts slave); mknod of nothing
// else.
std::vector<DeviceRule> default_device_rules();

}  // namespace holm::quotas
