#include "runtime/host_links.h"

#include <algorithm>

#include "netsetup/container_link.h"

namespace holm::runtime {
namespace {

LinkTraffic as_container_sees_it(const netsetup::HostLink& link) {
  const netsetup::Traffic& host = link.traffic;
  return {link.name,
          link.index,
          {.received_bytes = host.sent_bytes,
           .received_packets = host.sent_packets,
           .sent_bytes = host.received_bytes,
           .sent_packets = host.received_packets}};
}

}  // namespace

HostLinks::HostLinks(const Paths& paths) {
  const std::string first = paths.veth(0);
  for (const netsetup::HostLink& link : netsetup::list_links(first.substr(0, first.size() - 1)))
    if (const int64_t number = paths.number_of_veth(link.name); number >= 0)
      links_.emplace(static_cast<uint32_t>(number), as_container_sees_it(link));
}

std::vector<LinkTraffic> HostLinks::of(uint32_t number) const {
  const auto [first, last] = links_.equal_range(number);
  std::vector<LinkTraffic> links;
  for (auto link = first; link != last; ++link) links.push_back(link->second);
  return links;
}

std::vector<quotas::Traffic> interface_traffic(const Paths& paths, uint32_t number,
                                               const std::vector<LinkTraffic>& links,
                                               const std::vector<std::string>& interfaces) {
  std::vector<quotas::Traffic> traffic;
  for (unsigned index = 0; index < interfaces.size(); ++index) {
    const auto link = std::ranges::find(links, paths.veth(number, index), &LinkTraffic::link);
    if (link == links.end()) continue;
    const netsetup::Traffic& inside = link->traffic;
    traffic.push_back({interfaces[index], inside.received_bytes, inside.received_packets, inside.sent_bytes,
                       inside.sent_packets});
  }
  return traffic;
}

}  // namespace holm::runtime
