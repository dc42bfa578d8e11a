#include <doctest/doctest.h>

#include <string>

#include "base/error.h"
#include "isolation/user_database.h"

using namespace holm;
using namespace holm::isolation;

namespace {

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "broken:x:1\n"
    "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
    "1000:x:0:0::/:/bin/sh\n"
    "-1:x:0:0::/:/bin/sh\n"
    "negative:x:-1:0::/:/bin/sh\n"
    "huge:x:4294967296:0::/:/bin/sh\n"
    "hex:x:0x0:0::/:/bin/sh\n"
    "blank:x: 0:0::/:/bin/sh\n"
    "outside:x:70000:0::/:/bin/sh\n"
    "outside-group:x:50:70000::/:/bin/sh\n"
    "relative:x:51:51::home:bash\n"
    "user:x:1001:1001::/home/user:\n"
    "www-data:x:0:0::/root:/bin/sh\n";

constexpr std::string_view kGroup =
    "root:x:0:\n"
    "adm:x:4:user,www-data\n"
    "www-data:x:33:\n"
    "audio:x:29:user\n"
    "bad:x:-1:user\n"
    "outside:x:70000:user\n"
    "superuser:x:0:xuser,userx\n"
    "users:x:100:root,user";

ContainerUser find(const std::string& wanted) { return find_user(wanted, kPasswd, kGroup); }

std::string message_of(const std::string& wanted) {
  try {
    const ContainerUser user = find(wanted);
    return "found " + std::to_string(user.uid) + ":" + std::to_string(user.gid);
  } catch (const Error& error) {
    return error.message();
  }
}

}  // namespace

TEST_CASE("a name gives the user's ids, groups, home and shell") {
  const ContainerUser user = find("user");
  CHECK(user.uid == 1001);
  CHECK(user.gid == 1001);
  CHECK(user.groups == std::vector<gid_t>{4, 29, 100, 1001});
  CHECK(user.name == "user");
  CHECK(user.home == "/home/user");
  CHECK(user.shell == "/bin/sh");
  CHECK(find("root").home == "/root");
  CHECK(find("root").groups == std::vector<gid_t>{0, 100});
}

TEST_CASE("of two lines with one name the first counts, as for the C library") {
  CHECK(find("www-data").uid == 33);
}

TEST_CASE("a group that is named is the only one") {
  const ContainerUser user = find("user:audio");
  CHECK(user.gid == 29);
  CHECK(user.groups == std::vector<gid_t>{29});
  CHECK(find("user:7").gid == 7);
  CHECK(find("33:adm").gid == 4);
}

TEST_CASE("a number is looked up, and needs no line") {
  CHECK(find("1001").home == "/home/user");
  CHECK(find("1001").groups == std::vector<gid_t>{4, 29, 100, 1001});
  const ContainerUser unlisted = find("4242");
  CHECK(unlisted.uid == 4242);
  CHECK(unlisted.gid == 4242);  // not 0
  CHECK(unlisted.home == "/");
  CHECK(unlisted.name.empty());
  CHECK(find("4242:17").gid == 17);
  CHECK(find("65535").uid == 65535);
}

TEST_CASE("a user whose name is a number cannot stand for that number") {
  CHECK(find("1000").uid == 1000);
  CHECK(find("0").name == "root");
}

TEST_CASE("what looks like a number but is none is refused, and is never root") {
  for (const char* bad : {"-1", "+0", "0x0", " 0", "00", "01", "4294967296", "4294967295", "65536",
                          "18446744073709551616", "1e3", "0 "}) {
    CAPTURE(bad);
    CHECK(message_of(bad) ==
          "user '" + std::string(bad) + "' is neither a name nor a number from 0 to 65535");
    CHECK(message_of("user:" + std::string(bad)) ==
          "group '" + std::string(bad) + "' is neither a name nor a number from 0 to 65535");
  }
  for (const char* bad : {"", ":0", ":", "a/b", "a\nb", "../x"})
    CHECK(message_of(bad).find("is neither a name nor a number") != std::string::npos);
  CHECK(message_of("user:") == "group '' is neither a name nor a number from 0 to 65535");
  CHECK(message_of("user:adm:x") == "group 'adm:x' is neither a name nor a number from 0 to 65535");
  CHECK(message_of(std::string("root\0", 5)).find("is neither a name") != std::string::npos);
}

TEST_CASE("a missing user or group is named, and nothing else of the container is told") {
  CHECK(message_of("nobody") == "no user 'nobody' inside the container");
  CHECK(message_of("user:nogroup") == "no group 'nogroup' inside the container");
}

TEST_CASE("lines with bad fields or bad numbers do not count") {
  for (const char* name : {"broken", "negative", "huge", "hex", "blank"})
    CHECK(message_of(name) == "no user '" + std::string(name) + "' inside the container");
  CHECK(message_of("user:bad") == "no group 'bad' inside the container");
}

TEST_CASE("ids that the container's range does not have are refused") {
  CHECK(message_of("outside") == "user 'outside' has the id 70000 inside the container, which has 0..65535");
  CHECK(message_of("outside-group") ==
        "primary group of user 'outside-group' has the id 70000 inside the container, which has 0..65535");
  CHECK(message_of("user:outside") ==
        "group 'outside' has the id 70000 inside the container, which has 0..65535");
}

TEST_CASE("a home or shell that is not absolute is replaced") {
  CHECK(find("relative").home == "/");
  CHECK(find("relative").shell == "/bin/sh");
}

TEST_CASE("root needs no files, everybody else does") {
  const ContainerUser root = find_user("root", "", "");
  CHECK(root.uid == 0);
  CHECK(root.gid == 0);
  CHECK(root.groups == std::vector<gid_t>{0});
  CHECK(find_user("root:root", "", "").gid == 0);
  CHECK_THROWS_WITH_AS(find_user("www-data", "", ""), "no user 'www-data' inside the container", Error);
}

TEST_CASE("zero bytes and other control characters cannot join or split lines") {
  const std::string passwd =
      std::string("evil\0:x:0:0::/:/bin/sh\n", 23) + "a:x:5:5:\x1b[2J:/:/bin/sh\nb:x:6:6::/\r:/bin/sh\n";
  for (const char* name : {"evil", "a", "b"}) CHECK_THROWS_AS(find_user(name, passwd, ""), Error);
}

TEST_CASE("huge files are read up to a bound") {
  std::string passwd, group;
  for (int i = 0; i < 70'000; ++i) passwd += "u" + std::to_string(i) + ":x:5:5::/:/bin/sh\n";
  for (int i = 0; i < 70'000; ++i) group += "g:x:" + std::to_string(i) + ":u1\n";
  CHECK(find_user("u65535", passwd, "").uid == 5);
  CHECK_THROWS_AS(find_user("u65536", passwd, ""), Error);
  CHECK(find_user("u1", passwd, group).groups.size() == 65536);
}
