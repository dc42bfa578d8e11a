#include <doctest/doctest.h>

#include "base/error.h"
#include "storage/entry_rules.h"
#include "storage/unpack_program.h"

using namespace holm;
using namespace holm::storage;

TEST_CASE("entry names are places below the root, however they are written") {
  CHECK(entry_path("./usr//bin/") == "usr/bin");
  CHECK(entry_path("/etc/passwd") == "etc/passwd");
  CHECK(entry_path("./") == "");
  CHECK(entry_path("..a/b..") == "..a/b..");
}

TEST_CASE("names that leave the root, or are endless, are refused by name") {
  CHECK_THROWS_WITH_AS(entry_path("../x"), "entry '../x' leaves the root: '..' in its name", Error);
  CHECK_THROWS_WITH_AS(entry_path("a/../../x"), doctest::Contains("leaves the root"), Error);
  CHECK_THROWS_WITH_AS(entry_path("a/.."), doctest::Contains("leaves the root"), Error);
  CHECK_THROWS_WITH_AS(entry_path(std::string(256, 'x')), doctest::Contains("too long"), Error);
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "d/";
  CHECK_THROWS_WITH_AS(entry_path(deep), doctest::Contains("too deep"), Error);
  std::string wide;
  for (int i = 0; i < 20; ++i) wide += std::string(200, 'w') + "/";
  CHECK_THROWS_WITH_AS(entry_path(wide), doctest::Contains("too long"), Error);
}

TEST_CASE("control characters in names do not reach the terminal") {
  CHECK_THROWS_WITH_AS(entry_path("\x1b[2J/../x"), doctest::Contains("\\x1b[2J"), Error);
}

TEST_CASE("devices are refused everywhere, FIFOs and sockets but below dev and run") {
  CHECK_THROWS_WITH_AS(decide_entry(EntryKind::character_device, "dev/null"),
                       "entry 'dev/null' is a device node", Error);
  CHECK_THROWS_WITH_AS(decide_entry(EntryKind::block_device, "x"), "entry 'x' is a device node", Error);
  CHECK_THROWS_WITH_AS(decide_entry(EntryKind::fifo, "etc/passwd"), "entry 'etc/passwd' is a FIFO", Error);
  CHECK_THROWS_WITH_AS(decide_entry(EntryKind::socket, "devil"), "entry 'devil' is a socket", Error);
  CHECK_THROWS_WITH_AS(decide_entry(EntryKind::unknown, "x"), "entry 'x' is of an unknown kind", Error);
  CHECK_THROWS_WITH_AS(decide_entry(EntryKind::symbolic_link, ""), "the root itself is not a directory",
                       Error);
  CHECK(decide_entry(EntryKind::fifo, "run/initctl") == EntryDecision::leave_out);
  CHECK(decide_entry(EntryKind::socket, "dev/log") == EntryDecision::leave_out);
  CHECK(decide_entry(EntryKind::regular, "etc/passwd") == EntryDecision::take);
}

TEST_CASE("owners outside of a container's ids are refused") {
  CHECK_NOTHROW(check_owner(0, 65535, "x"));
  CHECK_THROWS_WITH_AS(check_owner(65536, 0, "x"),
                       "entry 'x' belongs to 65536:0: a container has the ids 0 to 65535", Error);
  CHECK_THROWS_AS(check_owner(0, -1, "x"), Error);
  CHECK_THROWS_AS(check_owner(4294967296, 0, "x"), Error);
}

TEST_CASE("of extended attributes only file capabilities and users' own are taken") {
  CHECK(is_taken_attribute("user.comment", 10));
  CHECK(is_taken_attribute("security.capability", 20));
  CHECK_FALSE(is_taken_attribute("security.capability", 24));  // names a user namespace's root
  CHECK_FALSE(is_taken_attribute("security.selinux", 20));
  CHECK_FALSE(is_taken_attribute("trusted.overlay.redirect", 5));
  CHECK_FALSE(is_taken_attribute("user.overlay.opaque", 1));
  CHECK_FALSE(is_taken_attribute("system.posix_acl_access", 28));
}

TEST_CASE("the budget names what goes over it") {
  ImportBudget budget(2, 1024);
  budget.add_entry();
  budget.add_entry();
  CHECK_THROWS_WITH_AS(budget.add_entry(), "it has more than 2 entries", Error);
  budget.add_bytes(1000, "a");
  budget.add_bytes(24, "b");
  CHECK_THROWS_WITH_AS(budget.add_bytes(1, "c"), "entry 'c' takes it over 1 KiB", Error);
  CHECK_THROWS_WITH_AS(budget.check_bytes(INT64_MAX, "d"), doctest::Contains("entry 'd'"), Error);
  CHECK_THROWS_WITH_AS(budget.check_bytes(-1, "e"), "entry 'e' has a negative size", Error);
}

TEST_CASE("the unpacker's outcome comes back as it was, and without control characters") {
  const UnpackReport report = decode_outcome(encode_report({7, 4096, {"left out 1 thing"}}), 0);
  CHECK(report.entries == 7);
  CHECK(report.bytes == 4096);
  CHECK(report.notes == std::vector<std::string>{"left out 1 thing"});
  CHECK_THROWS_WITH_AS(decode_outcome(encode_failure(Error("bad \x1b thing")), 1), "bad \\x1b thing", Error);
  CHECK_THROWS_WITH_AS(decode_outcome("", 139), "holm-unpack was ended by SIGSEGV", Error);
  CHECK_THROWS_WITH_AS(decode_outcome("done 1\n", 0), "holm-unpack ended with status 0 and without a result",
                       Error);
  CHECK_THROWS_WITH_AS(decode_outcome("done 1 2\n", 3), doctest::Contains("without a result"), Error);
}
