#include "netsetup/firewall.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <nftables/libnftables.h>

#include <cerrno>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "base/namespace_thread.h"
#include "base/shared_library.h"
#include "base/text.h"
#include "netsetup/netlink_socket.h"
#include "netsetup/subnet.h"

namespace holm::netsetup {
namespace {

// Rules stand four blanks in (count_rule_lines). Priorities as numbers: older libnftables know their names
// for other families only.
constexpr std::string_view kChains = R"(
  chain to_outside {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {subnet4} ip daddr != {subnet4} oifname != "{bridge}" counter masquerade
    ip6 saddr {subnet6} ip6 daddr != {subnet6} oifname != "{bridge}" counter masquerade
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{bridge}" accept
    oifname "{bridge}" accept
  }}
  chain check_source {{
    type filter hook prerouting priority -300; policy accept;
    iifname "{bridge}" jump from_containers
  }}
  chain from_containers {{
    ip saddr {gateway4} counter drop
    ip6 saddr {gateway6} counter drop
    ip saddr {subnet4} accept
    ip6 saddr {subnet6} accept
    ip6 saddr fe80::/10 accept
    ip6 saddr :: accept
    counter drop
  }}
)";

std::string chains_of(const FirewallPlan& plan) {
  return fmt::format(kChains, fmt::arg("bridge", plan.bridge),
                     fmt::arg("subnet4", format_interface_address(network_of(plan.gateway4))),
                     fmt::arg("subnet6", format_interface_address(network_of(plan.gateway6))),
                     fmt::arg("gateway4", format_host_address(plan.gateway4)),
                     fmt::arg("gateway6", format_host_address(plan.gateway6)));
}

unsigned count_rule_lines(const std::string& chains) {
  unsigned count = 0;
  for (const std::string& line : split(chains, '\n'))
    if (line.starts_with("    ") && !line.starts_with("    type ")) ++count;
  return count;
}

// --- libnftables, loaded when it is needed

struct Nftables {
  SharedLibrary library{"libnftables.so.1", "libnftables1"};
  decltype(&nft_ctx_new) context_new;
  decltype(&nft_ctx_free) context_free;
  decltype(&nft_ctx_buffer_output) buffer_output;
  decltype(&nft_ctx_buffer_error) buffer_error;
  decltype(&nft_ctx_get_error_buffer) error_text;
  decltype(&nft_run_cmd_from_buffer) run;
};

Nftables load_nftables() {
  Nftables out{};
  const SharedLibrary& library = out.library;
  library.resolve("nft_ctx_new", out.context_new);
  library.resolve("nft_ctx_free", out.context_free);
  library.resolve("nft_ctx_buffer_output", out.buffer_output);
  library.resolve("nft_ctx_buffer_error", out.buffer_error);
  library.resolve("nft_ctx_get_error_buffer", out.error_text);
  library.resolve("nft_run_cmd_from_buffer", out.run);
  return out;
}

// "/dev/stdin:3:5-9: Error: Could not process rule: ..." and then lines that show the place in a text which
// no user wrote.
std::string reason_in(std::string_view text) {
  constexpr std::string_view kMark = "Error: ";
  const size_t mark = text.find(kMark);
  if (mark != std::string_view::npos) text.remove_prefix(mark + kMark.size());
  return std::string(trim(text.substr(0, text.find('\n'))));
}

constexpr const char* kHeld = "holm_while_restored";  // in the container's namespace

// --- questions to the kernel without libnftables

Message nftables_request(int type, uint8_t family) {
  Message message = make_message((NFNL_SUBSYS_NFTABLES << 8) | type, 0);
  nfgenmsg header{};
  header.nfgen_family = family;
  header.version = NFNETLINK_V0;
  check_nl(nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO), "build a netlink message");
  return message;
}

void put_name(const Message& message, int attribute, const std::string& name) {
  check_nl(nla_put_string(message.get(), attribute, name.c_str()), "build a netlink message");
}

// False where the kernel says that it has no such thing, or no nftables at all.
bool is_there(const std::optional<NetlinkFailure>& failure, std::string_view action) {
  if (!failure) return true;
  if (failure->error_number == ENOENT || failure->error_number == EINVAL ||
      failure->error_number == EOPNOTSUPP)
    return false;
  throw failure->to_error(action);
}

unsigned count_rules(NetlinkSocket& socket, const std::string& table) {
  const Message request = nftables_request(NFT_MSG_GETRULE, NFPROTO_INET);
  put_name(request, NFTA_RULE_TABLE, table);
  unsigned count = 0;
  const auto failure = socket.list(
      request.get(), [&] { count = 0; }, [&](nl_msg*) { ++count; });
  return is_there(failure, fmt::format("list the rules of table '{}'", table)) ? count : 0;
}

}  // namespace

void run_nftables(const std::string& commands, std::string_view action) {
  const Nftables nftables = load_nftables();
  const std::unique_ptr<nft_ctx, decltype(nftables.context_free)> context(
      nftables.context_new(NFT_CTX_DEFAULT), nftables.context_free);
  if (!context) throw Error(fmt::format("{}: out of memory", action));
  nftables.buffer_output(context.get());
  nftables.buffer_error(context.get());
  if (nftables.run(context.get(), commands.c_str()) == 0) return;
  Error error(fmt::format("{}: {}", action, reason_in(nftables.error_text(context.get()))));
  error.hint(
      "the kernel needs nftables for family inet (CONFIG_NF_TABLES_INET), and on the host with NAT "
      "(CONFIG_NFT_NAT, CONFIG_NFT_MASQ)");
  throw error;
}

std::string firewall_marker(const FirewallPlan& plan) {
  uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : chains_of(plan)) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return fmt::format("ruleset_v1_{:08x}", hash);
}

std::string firewall_ruleset(const FirewallPlan& plan) {
  // "delete" fails where there is no table, so one is added before.
  return fmt::format("add table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n  chain {1} {{ }}{2}}}\n",
                     plan.table, firewall_marker(plan), chains_of(plan));
}

bool firewall_stands(const FirewallPlan& plan) {
  NetlinkSocket socket(NETLINK_NETFILTER);
  const Message request = nftables_request(NFT_MSG_GETCHAIN, NFPROTO_INET);
  put_name(request, NFTA_CHAIN_TABLE, plan.table);
  put_name(request, NFTA_CHAIN_NAME, firewall_marker(plan));
  const auto failure = socket.get(request.get(), [](nl_msg*) {});
  if (!is_there(failure, fmt::format("look up table '{}'", plan.table))) return false;
  // A "flush table" leaves the chains and takes the rules.
  return count_rules(socket, plan.table) == count_rule_lines(chains_of(plan));
}

void install_firewall(const FirewallPlan& plan) {
  run_nftables(firewall_ruleset(plan), fmt::format("install firewall table '{}'", plan.table));
}

void hold_output(int network_namespace) {
  const std::string table = fmt::format(
      "table inet {} {{\n  chain output {{\n    type filter hook output priority -500; policy drop;\n  "
      "}}\n}}\n",
      kHeld);
  in_network_namespace(network_namespace, [&] { run_nftables(table, "hold back what is sent"); });
}

void let_output_go(int network_namespace) {
  in_network_namespace(network_namespace, [] {
    run_nftables(fmt::format("delete table inet {}\n", kHeld), "let go what is sent");
  });
}

bool remove_firewall(const std::string& table) {
  const std::string action = fmt::format("remove firewall table '{}'", table);
  {
    NetlinkSocket socket(NETLINK_NETFILTER);
    const Message request = nftables_request(NFT_MSG_GETTABLE, NFPROTO_INET);
    put_name(request, NFTA_TABLE_NAME, table);
    if (!is_there(socket.get(request.get(), [](nl_msg*) {}), action)) return false;
  }
  run_nftables(fmt::format("add table inet {0}\ndelete table inet {0}\n", table), action);
  return true;
}

bool is_forwarding_dropped_by_iptables() {
  NetlinkSocket socket(NETLINK_NETFILTER);
  const Message request = nftables_request(NFT_MSG_GETCHAIN, NFPROTO_IPV4);
  put_name(request, NFTA_CHAIN_TABLE, "filter");
  put_name(request, NFTA_CHAIN_NAME, "FORWARD");
  bool is_dropped = false;
  const auto failure = socket.get(request.get(), [&](nl_msg* message) {
    const nlattr* policy = nlmsg_find_attr(nlmsg_hdr(message), sizeof(nfgenmsg), NFTA_CHAIN_POLICY);
    is_dropped = policy && ntohl(nla_get_u32(policy)) == NF_DROP;
  });
  return is_there(failure, "look up chain 'FORWARD'") && is_dropped;
}

}  // namespace holm::netsetup
