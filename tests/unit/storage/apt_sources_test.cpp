#include <doctest/doctest.h>

#include "base/file.h"
#include "base/sys.h"
#include "storage/apt_sources.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::storage;

TEST_CASE("lines of sources.list are read with their options, all else is left out") {
  const auto sources = parse_one_line_sources(
      "# deb http://commented.example/debian bookworm main\n"
      "deb-src http://mirror.example/debian bookworm main\n"
      "deb http://mirror.example/debian/ bookworm main contrib # local\n"
      "deb [ arch=amd64 signed-by=/usr/share/keyrings/k.gpg trusted=yes ] https://x.example/d "
      "bookworm-security main\n"
      "deb http://flat.example ./\n"
      "nonsense\n");
  REQUIRE(sources.size() == 2);
  CHECK(sources[0] == AptSource{"http://mirror.example/debian", "bookworm", {"main", "contrib"}, {}});
  CHECK(sources[1].uri == "https://x.example/d");
  CHECK(sources[1].suite == "bookworm-security");
  CHECK(sources[1].options ==
        std::map<std::string, std::string>{{"signed-by", "/usr/share/keyrings/k.gpg"}, {"trusted", "yes"}});
}

TEST_CASE("deb822 stanzas give one source a URI and suite; disabled ones and embedded keys are left out") {
  const auto sources = parse_deb822_sources(
      "# comment\n"
      "Types: deb deb-src\n"
      "URIs: http://a.example/debian http://b.example/debian/\n"
      "suites: trixie\n"
      " trixie-updates\n"
      "Components: main non-free-firmware\n"
      "Signed-By:\n"
      " -----BEGIN PGP PUBLIC KEY BLOCK-----\n"
      " .\n"
      " xsFN\n"
      "\n"
      "Types: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\nEnabled: no\n"
      "\n\n"
      "Types: deb-src\nURIs: http://src.example/debian\nSuites: trixie\nComponents: main\n"
      "\n"
      "Types: deb\nURIs: http://c.example/debian-security\nSuites: trixie-security\nComponents: main\n"
      "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n");
  REQUIRE(sources.size() == 5);
  CHECK(sources[0] == AptSource{"http://a.example/debian", "trixie", {"main", "non-free-firmware"}, {}});
  CHECK(sources[1].suite == "trixie-updates");
  CHECK(sources[3].uri == "http://b.example/debian");
  CHECK(sources[4].options.at("signed-by") == "/usr/share/keyrings/debian-archive-keyring.gpg");
}

TEST_CASE("Debian's own archive is chosen among others that use its suite names") {
  const auto sources = parse_one_line_sources(
      "deb https://php.example/php bookworm main\n"
      "deb https://db.example/apt bookworm-pgdg main\n"
      "deb https://docker.example/linux/debian bookworm stable\n"
      "deb http://mirror.example/debian bookworm main\n"
      "deb http://mirror.example/debian bookworm-updates main\n"
      "deb http://mirror.example/debian-security bookworm-security main\n");
  const auto same = choose_debian_sources(sources, "bookworm");
  REQUIRE(same.size() == 3);
  CHECK(template_line(same[0]) == "deb http://mirror.example/debian bookworm main");
  CHECK(template_line(same[2]) == "deb http://mirror.example/debian-security bookworm-security main");
  const auto other = choose_debian_sources(sources, "trixie");
  CHECK(template_line(other[0]) == "deb http://mirror.example/debian trixie main");
  CHECK(template_line(other[1]) == "deb http://mirror.example/debian trixie-updates main");
}

TEST_CASE("a machine without a source of Debian has none to choose") {
  CHECK(choose_debian_sources({}, "bookworm").empty());
  CHECK(choose_debian_sources(parse_one_line_sources("deb http://x.example/ubuntu noble main\n"), "bookworm")
            .empty());
  CHECK(choose_debian_sources(parse_one_line_sources("deb cdrom:[Debian]/ bookworm main\n"), "bookworm")
            .empty());
}

TEST_CASE("an image's mirror list stands for its first mirror") {
  const auto read = [](const std::string& path) -> std::optional<std::string> {
    if (path == "/etc/apt/mirrors/debian.list")
      return "# list\nhttp://m.example/debian/ priority:1\nhttp://n.example/debian\n";
    return std::nullopt;
  };
  CHECK(resolve_mirror_list("mirror+file:/etc/apt/mirrors/debian.list", read) == "http://m.example/debian");
  CHECK(resolve_mirror_list("mirror+file:///etc/apt/mirrors/debian.list", read) == "http://m.example/debian");
  CHECK(resolve_mirror_list("mirror+file:/none", read) == "mirror+file:/none");
  CHECK(resolve_mirror_list("http://m.example/debian", read) == "http://m.example/debian");
}

TEST_CASE("credentials of the host's archive do not get into a template") {
  const AptSource source = {
      "https://user:se@cret@m.example/debian", "bookworm", {"main"}, {{"trusted", "yes"}}};
  CHECK(template_line(source) == "deb https://m.example/debian bookworm main");
  CHECK(builder_line(source, "/k.gpg") ==
        "deb [trusted=yes] https://user:se@cret@m.example/debian bookworm main");
  CHECK(builder_line({"http://m.example/debian", "sid", {"main"}, {}}, "/k.gpg") ==
        "deb [signed-by=/k.gpg] http://m.example/debian sid main");
  CHECK(without_credentials("http://m.example/pool/@x") == "http://m.example/pool/@x");
}

TEST_CASE("all files that apt reads are read") {
  test::TemporaryDirectory directory;
  sys::make_directory(directory.path() + "/sources.list.d", 0755);
  write_file_durably(directory.path() + "/sources.list", "deb http://a.example/debian bookworm main\n");
  write_file_durably(directory.path() + "/sources.list.d/b.sources",
                     "Types: deb\nURIs: http://b.example/debian\nSuites: bookworm\nComponents: main\n");
  write_file_durably(directory.path() + "/sources.list.d/c.list.save",
                     "deb http://c.example/debian bookworm main\n");
  const auto sources = read_apt_sources(directory.path());
  REQUIRE(sources.size() == 2);
  CHECK(sources[1].uri == "http://b.example/debian");
  CHECK(read_apt_sources(directory.path() + "/none").empty());
}
