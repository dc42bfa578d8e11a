#include <doctest/doctest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/error.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "base/sys.h"
#include "storage/template_store.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::storage;

namespace {

TemplateInfo fill(const std::string& root) {
  sys::make_directory(root + "/bin", 0755);
  sys::make_directory(root + "/etc", 0755);
  write_file_durably(root + "/bin/sh", "#!", 0755);
  TemplateInfo info;
  info.kind = "import";
  info.source = "/srv/root \"1\"";
  return info;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.report();
  }
  return "no error";
}

std::vector<std::string> names_in(const std::string& path) { return list_directory(path); }

}  // namespace

TEST_CASE("template.toml keeps what is known of a template") {
  TemplateInfo info;
  info.kind = "debian";
  info.source = "a \"quoted\" \\ path\twith\x01 control, \xc3\xa4";
  info.suite = "trixie";
  info.packages = {"nginx", "python3-minimal"};
  info.created = "2026-11-20T10:00:00Z";
  const TemplateInfo copy = parse_template_info(format_template_info(info));
  CHECK(copy.kind == info.kind);
  CHECK(copy.source == info.source);
  CHECK(copy.suite == info.suite);
  CHECK(copy.packages == info.packages);
  CHECK(copy.created == info.created);
  CHECK(copy.format == 1);
}

TEST_CASE("a source that is not UTF-8 still makes a template.toml that can be read") {
  TemplateInfo info;
  info.source = "/srv/\xff\xfe";
  CHECK(parse_template_info(format_template_info(info)).source == "/srv/??");
}

TEST_CASE("a newer template.toml is refused, one without the later keys is read") {
  CHECK(message_of([] { parse_template_info("format = 2\n"); }) ==
        "format 2 is newer than this version of Holm knows (1)\n  hint: use the version of Holm that made "
        "it, or a later one");
  CHECK(parse_template_info("format = 1\nkind = \"busybox\"\n").kind == "busybox");
  CHECK(parse_template_info("format = 1\nunknown = 3\n").suite.empty());
}

TEST_CASE("a damaged template.toml says where and what") {
  CHECK(message_of([] { parse_template_info("kind = \"x\"\n"); }) == "'format' is missing");
  CHECK(message_of([] { parse_template_info("format = 0\n"); }) == "format 0 is not known");
  CHECK(message_of([] { parse_template_info("format = 1\nkind = 7\n"); }) == "'kind' is not a text");
  CHECK(message_of([] { parse_template_info("format = 1\npackages = [1]\n"); }) ==
        "'packages' is not a list of texts");
  CHECK(message_of([] { parse_template_info("format = 1\nkind = \n"); }).starts_with("2:"));
}

TEST_CASE("one damaged template does not hide the others") {
  test::TemporaryDirectory directory;
  TemplateStore store(directory.path() + "/templates");
  CHECK(store.list().empty());
  store.create("good", fill);
  sys::make_directories(store.directory() + "/broken/root", 0700);
  write_file_durably(store.directory() + "/broken/template.toml", "format = [");
  sys::make_directories(store.directory() + "/bare", 0700);
  sys::make_directories(store.directory() + "/lost+found", 0700);
  const auto entries = store.list();
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].info.name == "bare");
  CHECK(entries[0].damage == "it has no template.toml");
  CHECK(entries[1].damage.starts_with("template.toml: 1:"));
  CHECK(entries[2].info.name == "good");
  CHECK(entries[2].damage.empty());
  CHECK(entries[2].info.source == "/srv/root \"1\"");
  CHECK(message_of([&] {
          store.find("broken");
        }).starts_with("template 'broken' is damaged: template.toml: 1:"));
  store.remove("broken", {});
  CHECK(store.list().size() == 2);
}

TEST_CASE("a missing template is told with those that exist and the way to one") {
  test::TemporaryDirectory directory;
  TemplateStore store(directory.path() + "/templates");
  CHECK(message_of([&] { store.find("x"); }) ==
        "missing template 'x': there is none of that name; have: none\n  hint: holm template build busybox");
  store.create("one", fill);
  store.create("two", fill);
  CHECK(message_of([&] { store.find("debian"); }) ==
        "missing template 'debian': there is none of that name; have: one, two\n  hint: holm template build "
        "debian");
}

TEST_CASE("template names are DNS labels") {
  TemplateStore store("/nowhere");
  for (const char* name : {"", ".", "..", "a/b", ".hidden", "a b", "-a", "a\n"}) {
    CHECK(message_of([&] { store.find(name); }).find("not 1 to 63 letters, digits and hyphens") !=
          std::string::npos);
    CHECK(message_of([&] { store.create(name, fill); }).find("template name") == 0);
    CHECK(message_of([&] { store.remove(name, {}); }).find("template name") == 0);
  }
}

TEST_CASE("a template in use is not removed, and its users are named") {
  test::TemporaryDirectory directory;
  TemplateStore store(directory.path());
  store.create("web", fill);
  CHECK(message_of([&] {
          store.remove("web", {"a", "b"});
        }) == "cannot remove template 'web': in use by containers 'a', 'b'\n  hint: holm destroy a b");
  CHECK(store.find("web").name == "web");
  store.remove("web", {});
  CHECK(names_in(directory.path()).empty());
  CHECK(message_of([&] { store.remove("web", {}); }) ==
        "cannot remove template 'web': there is none of that name; have: none");
}

TEST_CASE("a template is closed to everybody but its owner, its root is not") {
  test::TemporaryDirectory directory;
  TemplateStore store(directory.path() + "/templates");
  store.create("web", fill);
  const auto mode = [&](const std::string& path) {
    return sys::stat_path(store.directory() + path)->st_mode & 07777;
  };
  CHECK(mode("") == 0700);
  CHECK(mode("/web") == 0700);
  CHECK(mode("/web/root") == 0755);
  const TemplateDetails details = store.inspect("web");
  CHECK(details.files == 1);
  CHECK(details.directories == 3);
  CHECK(details.disk_bytes > 0);
}

TEST_CASE("a build that fails leaves nothing, and what is no root file system is no template") {
  test::TemporaryDirectory directory;
  TemplateStore store(directory.path());
  CHECK(message_of([&] {
          store.create("web", [](const std::string&) -> TemplateInfo { throw Error("no network"); });
        }) == "cannot make template 'web': no network\n  at:   step 'fill template'");
  CHECK(message_of([&] { store.create("web", [](const std::string&) { return TemplateInfo(); }); }) ==
        "cannot make template 'web': 'web' is not a root file system: no /bin, /sbin, /usr/bin or /usr/sbin "
        "in it\n"
        "  at:   step 'check template'\n  hint: it is empty");
  CHECK(names_in(directory.path()).empty());
}

TEST_CASE("of two that make one template, one wins and the other is told") {
  test::TemporaryDirectory directory;
  TemplateStore store(directory.path());
  const auto slow = [&](const std::string& root) {
    const pid_t other = ::fork();
    if (other == 0) {
      ignore_errors([&] { store.create("web", fill); });  // its success is seen below
      ::_exit(0);
    }
    ::waitpid(other, nullptr, 0);
    return fill(root);
  };
  CHECK(message_of([&] {
          store.create("web", slow);
        }).find("another command has made one of that name meanwhile") != std::string::npos);
  CHECK(names_in(directory.path()) == std::vector<std::string>{"web"});
  CHECK(message_of([&] { store.create("web", fill); }) ==
        "cannot make template 'web': there is one of that name already\n  hint: holm template remove web");
}

TEST_CASE("killed at any step, a build leaves a whole template or leftovers that are collected") {
  for (const char* step : {"make draft", "fill template", "check template", "describe template",
                           "sync template", "publish template", "hide template", "delete template"}) {
    CAPTURE(step);
    test::TemporaryDirectory directory;
    TemplateStore store(directory.path());
    const pid_t child = ::fork();
    if (child == 0) {
      ::setenv("HOLM_FAULT", (std::string("kill:") + step).c_str(), 1);
      ignore_errors([&] {  // only its death matters
        store.create("web", fill);
        store.remove("web", {});
      });
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    for (const TemplateEntry& entry : store.list()) CHECK(entry.damage.empty());
    store.collect_leftovers();
    const auto left = names_in(directory.path());
    const bool whole = left == std::vector<std::string>{"web"} && !store.find("web").kind.empty();
    CHECK((whole || left.empty()));
    if (whole) store.remove("web", {});
    store.create("web", fill);
  }
}

TEST_CASE("what a living process is making is not collected") {
  test::TemporaryDirectory directory;
  TemplateStore store(directory.path());
  store.create("web", [&](const std::string& root) {
    const pid_t other = ::fork();
    if (other == 0) ::_exit(store.collect_leftovers().removed.empty() ? 0 : 1);
    int status = 1;
    ::waitpid(other, &status, 0);
    CHECK(status == 0);
    return fill(root);
  });
  CHECK(names_in(directory.path()) == std::vector<std::string>{"web"});
}
