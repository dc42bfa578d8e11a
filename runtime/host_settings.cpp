#include "runtime/host_settings.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/config_document.h"
#include "runtime/config_reader.h"
#include "runtime/paths.h"

namespace holm::runtime {
namespace {

constexpr std::string_view kSubject = "host settings";
// Above the 14 users that useradd(8) gives 65536 subordinate ids each, from 100000 on.
constexpr uint32_t kDefaultFirstId = 16 * kIdsPerRange;
// Another installation's share: many can live side by side, and 128 containers are many for a second one.
constexpr uint32_t kOtherRangeCount = 128;
// Ids from 2^31 on are negative to programs and system calls that take them for int (setfsuid(2) returns
// one).
constexpr uint64_t kEndOfSharedIds = uint64_t{1} << 31;
// The last range holds (uid_t)-1, which means "no change" to chown(2).
constexpr uint64_t kEndOfIds = (uint64_t{1} << 32) - kIdsPerRange;

constexpr std::array kSections =
    std::to_array<ConfigSection>({{.name = "ids"}, {.name = "network"}, {.name = "ledger"}});
constexpr std::array kKeys = std::to_array<ConfigKey>({
    {.path = "ids.first",
     .type = KeyType::whole_number,
     .example = "1048576",
     .allowed = "a multiple of 65536 from 65536 on",
     .meaning = "first host id of the containers' ranges",
     .min = kIdsPerRange,
     .max = static_cast<int64_t>(kEndOfIds) - kIdsPerRange},
    {.path = "ids.count",
     .type = KeyType::whole_number,
     .default_value = "4096",
     .allowed = "a whole number from 1 to 65534",
     .meaning = "ranges of 65536 ids, one a container",
     .min = 1,
     .max = 65534},
    {.path = "network.subnet",
     .example = "\"10.88.0.0/24\"",
     .allowed = "an IPv4 network with a prefix length from 8 to 29, such as \"10.88.0.0/24\"",
     .meaning = "addresses of mode nat"},
    {.path = "network.subnet6",
     .example = "\"fd00:88::/64\"",
     .allowed = "an IPv6 network with a prefix length from 48 to 120, such as \"fd00:88::/64\"",
     .meaning = "addresses of mode nat"},
    {.path = "network.nameservers",
     .type = KeyType::text_list,
     .example = "[\"192.0.2.53\"]",
     .allowed = "a list of at most 3 addresses",
     .meaning = "name servers of the containers"},
    {.path = "ledger.hours",
     .type = KeyType::whole_number,
     .default_value = "62",
     .allowed = "a number of days from 1 to 3660",
     .meaning = "days for which usage is kept by the hour",
     .min = 1,
     .max = 3660},
    {.path = "ledger.days",
     .type = KeyType::whole_number,
     .default_value = "400",
     .allowed = "a number of days from 1 to 36600",
     .meaning = "days for which usage is kept by the day",
     .min = 1,
     .max = 36600},
    {.path = "ledger.months",
     .type = KeyType::whole_number,
     .default_value = "120",
     .allowed = "a number of months from 1 to 1200",
     .meaning = "months for which usage is kept by the month, then dropped",
     .min = 1,
     .max = 1200},
});
constexpr KeyTable kHostKeys = {kKeys, kSections};

void read_ids(SectionReader ids, HostSettings& settings) {
  if (const auto count = ids.whole_number("count")) settings.range_count = static_cast<uint32_t>(*count);
  const auto first = ids.whole_number("first");
  if (!first) return;
  if (*first % kIdsPerRange != 0) {
    ids.refuse("first", fmt::format("{}", *first),
               fmt::format("the next one is {}", (*first / kIdsPerRange + 1) * kIdsPerRange));
    return;
  }
  settings.first_id = static_cast<uint32_t>(*first);
  const uint64_t fitting = (kEndOfIds - *settings.first_id) / kIdsPerRange;
  if (settings.range_count > fitting)
    ids.note("count", fmt::format("'ids.count' is {}, but only {} ranges fit above 'ids.first' ({})",
                                  settings.range_count, fitting, *settings.first_id));
}

struct SubnetRules {
  int family;
  unsigned min_prefix;
  unsigned max_prefix;
};

// The network of an address: host bits cleared.
netsetup::InterfaceAddress network_of(netsetup::InterfaceAddress address) {
  for (unsigned bit = address.prefix_length; bit < 128; ++bit)
    address.bytes[bit / 8] = static_cast<uint8_t>(address.bytes[bit / 8] & ~(0x80U >> (bit % 8)));
  return address;
}

std::optional<netsetup::InterfaceAddress> read_subnet(SectionReader& network, std::string_view key,
                                                      const SubnetRules& rules) {
  const auto text = network.text(key);
  if (!text) return std::nullopt;
  const auto subnet = netsetup::parse_interface_address(*text);
  const std::string given = fmt::format("\"{}\"", printable(text->substr(0, 80)));
  if (!subnet || subnet->family != rules.family || subnet->prefix_length < rules.min_prefix ||
      subnet->prefix_length > rules.max_prefix) {
    network.refuse(key, given);
    return std::nullopt;
  }
  if (const auto whole = network_of(*subnet); whole != *subnet) {
    network.refuse(key, given,
                   fmt::format("its network is \"{}\"", netsetup::format_interface_address(whole)));
    return std::nullopt;
  }
  return subnet;
}

void read_nameservers(SectionReader& network, std::vector<netsetup::InterfaceAddress>& nameservers) {
  constexpr size_t kMaxNameservers = 3;  // MAXNS of resolv.conf(5): more are never asked
  const auto texts = network.texts("nameservers");
  if (!texts) return;
  if (texts->size() > kMaxNameservers) network.refuse("nameservers", fmt::format("{}", texts->size()));
  for (size_t i = 0; i < texts->size(); ++i) {
    const auto address = netsetup::parse_host_address((*texts)[i]);
    if (address) {
      nameservers.push_back(*address);
    } else {
      network.note(fmt::format("nameservers[{}]", i),
                   fmt::format("'network.nameservers' holds \"{}\", which is no address",
                               printable((*texts)[i].substr(0, 80))));
    }
  }
}

void read_network(SectionReader network, HostSettings& settings) {
  settings.subnet = read_subnet(network, "subnet", {AF_INET, 8, 29});
  settings.subnet6 = read_subnet(network, "subnet6", {AF_INET6, 48, 120});
  read_nameservers(network, settings.nameservers);
}

void read_ledger(SectionReader ledger, quotas::LedgerRetention& retention) {
  if (const auto days = ledger.whole_number("hours")) retention.hours_days = *days;
  if (const auto days = ledger.whole_number("days")) retention.days_days = *days;
  if (const auto months = ledger.whole_number("months")) retention.months_months = *months;
  if (retention.days_days < retention.hours_days)
    ledger.note("days", fmt::format("'ledger.days' ({}) is less than 'ledger.hours' ({})",
                                    retention.days_days, retention.hours_days));
  if (retention.months_months * 28 < retention.days_days)
    ledger.note("months", fmt::format("'ledger.months' ({}) are less than 'ledger.days' ({})",
                                      retention.months_months, retention.days_days));
}

}  // namespace

HostSettings parse_host_settings(std::string_view text, const std::string& file_name) {
  const ConfigValue document = parse_toml(text, file_name, kSubject);
  ReadContext context{kHostKeys, {}, {}};
  SectionReader top(document, "", "", context);
  HostSettings settings;
  for (SectionReader& ids : top.sections("ids")) read_ids(ids, settings);
  for (SectionReader& network : top.sections("network")) read_network(network, settings);
  for (SectionReader& ledger : top.sections("ledger")) read_ledger(ledger, settings.ledger);
  throw_problems(std::move(context.problems), file_name, kSubject);
  return settings;
}

HostSettings load_host_settings(const std::string& path) {
  HostSettings settings;
  if (sys::exists(path)) settings = parse_host_settings(read_config_file(path, kSubject), path);
  settings.is_default_file = path == Paths{}.host_config;
  return settings;
}

// Two installations on one host know nothing of each other's leases, so their ids must differ by
// construction:
//  - the default one has [first, first + count * 65536);
//  - another one whose own settings file sets ids.first has what that file says;
//  - any other one gets a slot of 128 ranges, chosen by its hash among all slots from the default first id up
//  to 2^31
//    that the default installation does not use. Two of them share a slot once in some 220 pairs: a host that
//    depends on the difference sets ids.first in each one's file.
IdBlock id_block(const HostSettings& settings, const std::string& installation) {
  const bool is_default = installation.empty();
  const IdBlock configured{settings.first_id.value_or(kDefaultFirstId), settings.range_count};
  if (is_default || (settings.first_id && !settings.is_default_file)) return configured;

  // A count in another installation's own file bounds its slot, but does not move the default installation's
  // block.
  const IdBlock taken =
      settings.is_default_file ? configured : IdBlock{kDefaultFirstId, HostSettings{}.range_count};
  constexpr uint64_t kSlot = uint64_t{kOtherRangeCount} * kIdsPerRange;
  std::vector<uint32_t> slots;
  for (uint64_t first = kDefaultFirstId; first + kSlot <= kEndOfSharedIds; first += kSlot)
    if (first + kSlot <= taken.first || first >= taken.end()) slots.push_back(static_cast<uint32_t>(first));
  // A default installation that takes all ids leaves none to choose from: the last slot is then as good as
  // any.
  if (slots.empty()) slots.push_back(static_cast<uint32_t>(kEndOfSharedIds - kSlot));
  uint32_t hash = 0;
  std::from_chars(installation.data(), installation.data() + installation.size(), hash, 16);
  return {slots[hash % slots.size()], std::min(settings.range_count, kOtherRangeCount)};
}

uint32_t id_range_first(const HostSettings& settings, const std::string& installation) {
  return id_block(settings, installation).first;
}

std::optional<std::string> find_subuid_overlap(const IdBlock& block, std::string_view text_of_subuid) {
  for (const std::string& line : split(text_of_subuid, '\n')) {
    const std::vector<std::string> fields = split(trim(line), ':');
    if (fields.size() != 3) continue;  // shadow's own parser skips what is no entry, too
    const auto first = parse_unsigned(fields[1]);
    const auto count = parse_unsigned(fields[2]);
    if (!first || !count || *first > UINT32_MAX || *count > UINT32_MAX) continue;
    if (*first < block.end() && *first + *count > block.first) return fields[0];
  }
  return std::nullopt;
}

}  // namespace holm::runtime
