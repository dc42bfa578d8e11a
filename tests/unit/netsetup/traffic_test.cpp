// The host's links in /proc/net/dev.
#include "netsetup/traffic.h"

#include <doctest/doctest.h>

using namespace holm::netsetup;

namespace {

constexpr const char* kText =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls "
    "carrier compressed\n"
    "    lo: 465492598   76006    0    0    0     0          0         0 465492598   76006    0    0    0    "
    " 0       "
    "0          0\n"
    "hm1a2b-7:     100       2    0    0    0     0          0         0      900       9    0    0    0     "
    "0       "
    "0          0\n"
    "eth0:1: 5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\n"
    "broken: 1 2 3\n"
    "words: a b c d e f g h i j k l m n o p\n";

}  // namespace

TEST_CASE("each link's bytes and packets are read, and lines that are none are passed over") {
  const auto links = parse_traffic(kText);
  CHECK(links.size() == 3);
  CHECK(links.at("lo").received_bytes == 465492598);
  CHECK(links.at("hm1a2b-7").received_bytes == 100);
  CHECK(links.at("hm1a2b-7").received_packets == 2);
  CHECK(links.at("hm1a2b-7").sent_bytes == 900);
  CHECK(links.at("hm1a2b-7").sent_packets == 9);
  CHECK(links.at("eth0:1").sent_bytes == 7);
  CHECK(parse_traffic("").empty());
}

TEST_CASE("what the host's end sends, the container receives") {
  const LinkTraffic inside = seen_from_peer(parse_traffic(kText).at("hm1a2b-7"));
  CHECK(inside.received_bytes == 900);
  CHECK(inside.received_packets == 9);
  CHECK(inside.sent_bytes == 100);
  CHECK(inside.sent_packets == 2);
}

TEST_CASE("this machine's own links are readable") { CHECK(read_traffic().count("lo") <= 1); }
