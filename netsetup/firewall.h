// Holm's own nftables tables: the host's translates the containers' addresses for the outside and keeps them
// from forging others.
#pragma once

#include <string>
#include <string_view>

#include "netsetup/nic_spec.h"

namespace holm::netsetup {

struct FirewallPlan {
  std::string table;  // of family inet
  std::string bridge;
  InterfaceAddress gateway4;  // the host's own addresses on the bridge, with the subnets' prefix lengths
  InterfaceAddress gateway6;
};

// One transaction in nft's language that puts the table in place of whatever table of that name there was.
std::string firewall_ruleset(const FirewallPlan& plan);
// The empty chain that the transaction makes beside the others: its name changes with everything else in the
// ruleset, so that its presence proves the table to be this plan's, of this version of Holm.
std::string firewall_marker(const FirewallPlan& plan);

// Runs commands in nft's language, as one transaction, in the calling thread's network namespace. Needs
// libnftables, as all that changes rules here.
void run_nftables(const std::string& commands, std::string_view action);

// True where the table of exactly this plan stands. Asks the kernel directly, without libnftables.
bool firewall_stands(const FirewallPlan& plan);
// Needs libnftables, which is loaded on demand: it takes longer to load than everything else that a start
// does.
void install_firewall(const FirewallPlan& plan);
// False where there was no such table.
bool remove_firewall(const std::string& table);

// Drops all that processes in the namespace send, until it is let through again. While their sockets are made
// anew, a peer in the same namespace would answer before its own socket is there.
void hold_output(int network_namespace);
void let_output_go(int network_namespace);

// True where a chain of another program drops what it does not know before it gets to the containers (Docker,
// ufw): Holm's table cannot overrule that.
bool is_forwarding_dropped_by_iptables();

}  // namespace holm::netsetup
