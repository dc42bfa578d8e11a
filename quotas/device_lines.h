// Device rules as cgroup v1 writes them: "c 1:3 rwm". Not for other folders.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "quotas/device_rule.h"

namespace holm::quotas {

// Throws where a rule's type is not 'c' or 'b', or its access is empty or not of r, w and m.
std::string device_line(const DeviceRule& rule);

// (type, major, minor) -> access; any number is "*".
using DeviceTable = std::map<std::tuple<char, std::string, std::string>, std::string>;
// Rules for the same device become one, as the kernel keeps them.
DeviceTable merge_device_rules(const std::vector<DeviceRule>& rules);
// A whole devices.list. Lines that are not of this form stand under themselves, so that nothing is
// overlooked.
DeviceTable parse_device_lines(std::string_view text);

// "c 1:3 rwm, c 1:5 rwm": for messages.
std::string one_line(std::string_view lines);

}  // namespace holm::quotas
