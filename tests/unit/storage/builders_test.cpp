#include <doctest/doctest.h>
#include <elf.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "storage/busybox_template.h"
#include "storage/debian_template.h"

using namespace holm;
using namespace holm::storage;

namespace {

std::string elf_with(uint32_t segment_type) {
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_phoff = sizeof header;
  header.e_phnum = 1;
  Elf64_Phdr segment = {};
  segment.p_type = segment_type;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  return bytes.append(reinterpret_cast<const char*>(&segment), sizeof segment);
}

}  // namespace

TEST_CASE("a program with an interpreter, a script or half a program is not static") {
  CHECK(is_static_program(elf_with(PT_LOAD)));
  CHECK_FALSE(is_static_program(elf_with(PT_INTERP)));
  CHECK_FALSE(is_static_program("#!/bin/sh\n"));
  CHECK_FALSE(is_static_program(""));
  CHECK_FALSE(is_static_program(elf_with(PT_LOAD).substr(0, 80)));
}

TEST_CASE("applets become relative links in their directories; busybox itself and strange names do not") {
  const auto links = plan_applet_links(
      "bin/sh\nsbin/init\nusr/bin/awk\nusr/sbin/httpd\nbin/busybox\nlinuxrc\nbin/../x\nbin/..\n../etc/"
      "passwd\netc/x\nbin/[\n");
  const std::vector<std::pair<std::string, std::string>> expected = {{"bin/[", "busybox"},
                                                                     {"bin/sh", "busybox"},
                                                                     {"sbin/init", "../bin/busybox"},
                                                                     {"usr/bin/awk", "../../bin/busybox"},
                                                                     {"usr/sbin/httpd", "../../bin/busybox"}};
  CHECK(links == expected);
}

TEST_CASE("only known suites and names of packages get to the builder") {
  CHECK_NOTHROW(check_debian_options({"trixie", {"libstdc++6", "python3-minimal", "g++"}}));
  CHECK_THROWS_WITH_AS(check_debian_options({"noble", {}}), "suite 'noble' is not known", Error);
  for (const char* name :
       {"", "a", "-x", "./evil.deb", "?priority(required)", "nginx,curl", "a b", "Nginx", "nginx=1.2"})
    CHECK_THROWS_AS(check_debian_options({"bookworm", {name}}), Error);
}

TEST_CASE("mmdebstrap gets every source, debootstrap the archive alone") {
  const std::vector<AptSource> sources = {
      {"http://m.example/debian", "trixie", {"main"}, {}},
      {"http://m.example/debian-security", "trixie-security", {"main"}, {}}};
  const auto modern =
      debian_command("/usr/bin/mmdebstrap", {"trixie", {"nginx", "dbus"}}, sources, "/k.gpg", "/t/root");
  const std::vector<std::string> expected = {
      "/usr/bin/mmdebstrap",
      "--variant=minbase",
      "--include=systemd,systemd-sysv,dbus,iproute2,procps,netbase,nginx",
      "--mode=root",
      "--format=directory",
      "trixie",
      "/t/root",
      "deb [signed-by=/k.gpg] http://m.example/debian trixie main",
      "deb [signed-by=/k.gpg] http://m.example/debian-security trixie-security main"};
  CHECK(modern == expected);
  const auto old = debian_command("/usr/sbin/debootstrap", {"trixie", {}}, sources, "/k.gpg", "/t/root");
  CHECK(old.back() == "http://m.example/debian");
  CHECK(std::find(old.begin(), old.end(), "--keyring=/k.gpg") != old.end());
}

TEST_CASE("the host's proxies are handed on by the environment") {
  CHECK(
      proxy_environment("Acquire::http::Proxy \"http://p.example:3128\";\nAcquire::https::Proxy \"DIRECT\";\n"
                        "Acquire::http::Proxy::m.example \"DIRECT\";\nDir \"/\";\n") ==
      std::vector<std::string>{"http_proxy=http://p.example:3128"});
}
