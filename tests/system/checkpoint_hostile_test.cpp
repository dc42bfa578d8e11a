// Checkpoints that somebody has made to break out, and containers whose root
// disturbs: what is refused, and with what rights the processes of those come
// back that cannot be told from a good one.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/evil_checkpoint.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

// A manifest that says something else, and the words with which it is refused.
struct Lie {
  std::string words;
  std::function<void(json&)> tell;
};

const std::vector<Lie> kLies = {
    {"it has format 99, and this Holm reads up to", [](json& m) { m["format"] = 99; }},
    {"restore it with the Holm that made it, or a newer one", [](json& m) { m["format"] = 2000000000; }},
    {"'format' is 4294967297", [](json& m) { m["format"] = 4294967297; }},
    {"it has format 0", [](json& m) { m["format"] = 0; }},
    {"this host's CPU lacks 1 of what the one had that it was saved on",
     [](json& m) { m["host"]["cpu_flags"].push_back("avx4096"); }},
    {": avx4096\n", [](json& m) { m["host"]["cpu_flags"].push_back("avx4096"); }},
    {"it was saved on a riscv64 machine", [](json& m) { m["host"]["machine"] = "riscv64"; }},
    {"is there twice", [](json& m) { m["parts"].push_back(m["parts"][0]); }},
    {"has no digest", [](json& m) { m["parts"][0]["digest"] = ""; }},
    {"has no digest", [](json& m) { m["parts"][0]["digest"] = std::string(63, '0') + "G"; }},
    {"is not what was saved", [](json& m) { m["parts"][0]["digest"] = std::string(64, '0'); }},
    {", and should have 18446744073709551615",
     [](json& m) { m["parts"][0]["size"] = std::numeric_limits<uint64_t>::max(); }},
    {"'digest' is 'none'", [](json& m) { m["digest"] = "none"; }},
    {"is missing",
     [](json& m) {
       m["parts"].push_back({{"path", "x"}, {"size", 1}, {"digest", std::string(64, '0')}});
     }},
    {"is none of its parts", [](json& m) { m["parts"].erase(0); }},
    {"is no container name", [](json& m) { m["name"] = "../../../etc"; }},
    {"'files' is 'everywhere'", [](json& m) { m["files"] = "everywhere"; }},
    {"damaged", [](json& m) { m.erase("parts"); }},
    {"damaged", [](json& m) { m["name"] = 7; }},
    {"'processes' is no list", [](json& m) { m["processes"] = 7; }},
    {"'groups' is no list",
     [](json& m) {
       m["groups"] = {{"a", "b"}};
     }},
    {"'first_id' is -1", [](json& m) { m["first_id"] = -1; }},
    {"the checkpoint's config:1", [](json& m) { m["config"] = "this is no TOML ["; }},
    {"its config has other [[mount]] entries than it was saved with",
     [](json& m) { m["config"] = m["config"].get<std::string>() + "\n" + mount_entry("/etc", "/mnt"); }},
    {"its config has other [[network]] entries than it was saved with",
     [](json& m) {
       const std::string config = m["config"];
       m["config"] = config.substr(0, config.find("[[network]]")) + "[[network]]\nmode = \"nat\"\n";
     }},
    {"its config has another user_namespace than it was saved with", [](json& m) {
       m["config"] = m["config"].get<std::string>() + "\n[security]\nuser_namespace = false\n";
     }}};

// What a start gives, of all that stands in /proc/PID/limits.
std::vector<std::string> hard_limits(const std::string& rights) {
  std::vector<std::string> all;
  for (const std::string& text : split(rights.substr(0, rights.find("uid map")), '\n'))
    if (text.size() > 68) all.push_back(text.substr(0, 26) + std::string(trim(text.substr(47, 20))));
  return all;
}

}  // namespace

TEST_CASE("what a manifest may not say is refused before CRIU starts") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  for (size_t number = 0; number < kLies.size(); ++number) {
    if (!is_in_part(number)) continue;
    CAPTURE(kLies[number].words);
    scene.make_evil();
    scene.change_manifest(kLies[number].tell);
    scene.refuses_at_once(kLies[number].words);
  }
  const std::vector<std::string> names = {
      "../../etc/passwd", "images/../../x", "/etc/passwd", "images//x", "images/", "",
      "manifest.json",    ".hidden",        "a b",         "images/.x"};
  for (const std::string& name : part_of(names)) {
    CAPTURE(name);
    scene.make_evil();
    scene.change_manifest([&](json& m) { m["parts"][0]["path"] = name; });
    scene.refuses_at_once("is no name of a part");
  }
}

TEST_CASE(
    "cgroups and mounts of a manifest lead nowhere but into the "
    "container's own") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  for (const std::string& path : part_of({"..", "../../evil", "a/../../evil", "/evil", "a//b", "./a"})) {
    CAPTURE(path);
    scene.make_evil();
    scene.change_manifest([&](json& m) {
      for (json& hierarchy : m["groups"]) {
        json group = hierarchy["groups"][0];
        group["path"] = path;
        hierarchy["groups"].push_back(group);
      }
    });
    scene.refuses("is no place below the container's cgroup");
    for (const std::string& parent : scene.installation.cgroup_parents())
      CHECK_FALSE(sys::exists(parent.substr(0, parent.rfind('/')) + "/evil"));
  }
  for (const std::string& key : part_of({"node-kmsg", "node-../sda", "bind-0", "bind--1", "etc", ""})) {
    CAPTURE(key);
    scene.make_evil();
    scene.change_manifest([&](json& m) { m["mounts"].push_back({{"key", key}, {"source", "/etc"}}); });
    scene.refuses("the checkpoint has a mount '" + key + "' from outside, which no container gets");
  }
}

TEST_CASE("a file by itself may ask for nothing of the host") {
  HOLM_REQUIRES("root, CRIU, zstd", have_criu() && have_zstd());
  const EvilFile scene;
  const auto asks = [&](const std::string& more, const std::string& words) {
    CAPTURE(more);
    scene.take_apart();
    scene.change_manifest([&](json& m) {
      std::string config = m["config"];
      if (more.contains("[[network]]")) config = config.substr(0, config.find("[[network]]"));
      if (more.contains("root =")) config = config.substr(config.find('\n') + 1);
      m["config"] = more.starts_with('[') ? config + "\n" + more + "\n" : more + "\n" + config;
    });
    scene.put_together();
    scene.refuses_evil("its config asks for what a file may not ask for by itself: " + words);
  };
  asks(mount_entry("/etc", "/mnt"), "[[mount]] of the host's '/etc'");
  asks("[[network]]\nmode = \"host\"\n", "the host's network");
  asks("[security]\nuser_namespace = false\n", "user_namespace = false");
  asks("[security]\nio_uring = true\n", "io_uring");
  asks("[security]\ncapabilities = [\"+sys_time\"]\n", "capabilities ");
  asks("root = \"/srv\"", "root = \"/srv\"");
  // Where its owner has made the container, the owner's config counts.
  scene.installation.holm_ok({"create", scene.installation.write_config("box", counter())});
  const Result result = scene.installation.holm({"restore", scene.evil()});
  CHECK(result.status == 1);
  CHECK_MESSAGE(result.errors.contains("its config has another root than it was saved with"), result.errors);
  scene.installation.holm_ok({"restore", scene.good()});
  CHECK(counts_beyond(scene.installation, "box", 3));
}

TEST_CASE(
    "images that ask for more rights than a start gives are restored "
    "with those of a start") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  using namespace criu;
  if (is_in_part(0)) {
    scene.make_evil("userns-", [](ImageMessage& userns) {
      for (const uint64_t map : {kMapUid, kMapGid})
        userns.change(map, [](ImageMessage& extent) {
          extent.set(kMapOutside, uint64_t{0});
          extent.set(kMapCount, uint64_t{4294967295});
        });
    });
    scene.restores_tamed();
  }
  if (is_in_part(1)) {
    scene.make_evil("seccomp", [](ImageMessage& filters) {
      filters.change(kFilter, [](ImageMessage& filter) {
        filter.set(kFilterBytes, std::string("\x06\x00\x00\x00\x00\x00\xff\x7f",
                                             8));  // return ALLOW
      });
    });
    scene.restores_tamed();
  }
  if (is_in_part(2)) {
    scene.make_evil("core-", [](ImageMessage& core) {
      core.change(kCoreTask,
                  [](ImageMessage& task) { task.set(kTaskOom, static_cast<uint64_t>(int64_t{-1000})); });
      core.change(kCoreThread, [](ImageMessage& thread) {
        thread.set(kThreadNice, uint64_t{39});   // -20, as protobuf writes sint32
        thread.set(kThreadPolicy, uint64_t{1});  // SCHED_FIFO
        thread.set(kThreadPriority, uint64_t{99});
      });
    });
    scene.restores_tamed();
  }
  if (is_in_part(3)) {
    scene.make_evil("cgroup", [](ImageMessage& cgroups) {
      cgroups.change(kSets, [](ImageMessage& set) {
        set.change(kSetMembers, [](ImageMessage& member) {
          member.set(kMemberPath, std::string("/"));
          member.set(kMemberPrefix, uint64_t{0});
        });
      });
    });
    scene.restores_tamed();
  }
  if (is_in_part(4)) {
    scene.make_evil("core-", [](ImageMessage& core) {
      core.change(kCoreTask, [](ImageMessage& task) {
        task.change(kTaskLimits, [](ImageMessage& limits) {
          limits.change(kLimit, [](ImageMessage& limit) {
            limit.set(1, ~uint64_t{0});
            limit.set(2, ~uint64_t{0});
          });
        });
      });
    });
    const Result result = scene.restore_evil();
    REQUIRE_MESSAGE(result.status == 0, result.errors);
    // Hard ones count: a soft one may be anything up to them.
    CHECK(hard_limits(scene.rights_of_init()) == hard_limits(scene.rights));
    CHECK(hard_limits(scene.rights).size() > 10);
    scene.stop();
  }
  if (is_in_part(5)) {
    scene.make_evil("core-", [](ImageMessage& core) {
      core.change(kCoreThread, [](ImageMessage& thread) {
        thread.change(kThreadCredentials, [](ImageMessage& credentials) {
          for (const uint64_t set : {9, 10, 11, 12, 19}) {  // inheritable, permitted, ...
            credentials.remove(set);
            credentials.add(set, 0xffffffff);
            credentials.add(set, 0xffffffff);
          }
          credentials.set(kNoNewPrivs, uint64_t{0});
        });
      });
    });
    const Result result = scene.restore_evil();
    REQUIRE_MESSAGE(result.status == 0, result.errors);
    // Inheritable and ambient ones are the container's own affair, within its
    // bounding set.
    for (const char* key : {"CapBnd", "CapPrm", "CapEff", "NoNewPrivs", "Seccomp:"})
      CHECK(scene.line_of(scene.rights_of_init(), key) == scene.line_of(scene.rights, key));
    CHECK(scene.ask() == scene.calls);
    scene.stop();
  }
}

TEST_CASE(
    "images of processes that are not confined, and of mounts that no "
    "container has, are refused") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  using namespace criu;
  scene.make_evil("core-", [](ImageMessage& core) {
    core.change(kCoreThread, [](ImageMessage& thread) { thread.set(kThreadSeccompMode, uint64_t{0}); });
  });
  scene.refuses_at_once("a process of it has no system call filter");
  scene.make_evil("core-", [](ImageMessage& core) {
    core.change(kCoreThread, [](ImageMessage& thread) { thread.remove(kThreadCredentials); });
  });
  scene.refuses_at_once("a process of it has no credentials");
  const std::vector<std::pair<uint64_t, std::string>> kinds = {
      {5, "pid"}, {6, "network"}, {7, "ipc"}, {8, "uts"}, {9, "mount"}, {10, "user"}, {11, "cgroup"}};
  for (const auto& [number, name] : kinds) {
    if (!is_in_part(number)) continue;
    CAPTURE(name);
    uint64_t outside = 0;
    scene.make_evil("inventory", [&](ImageMessage& inventory) {
      inventory.change(kInventoryIds, [&](ImageMessage& ids) { outside = ids.number_at(number); });
    });
    CHECK(outside != 0);
    scene.make_evil("ids-", [&](ImageMessage& ids) { ids.set(number, outside); });
    scene.refuses_at_once("a process of it is outside of the container's " + name + " namespace");
  }
  const auto refuses_mounts = [&](const std::string& words, const auto& change) {
    CAPTURE(words);
    scene.make_evil("mountpoints-", change);
    scene.refuses_at_once(words);
  };
  for (const uint64_t flag : {4096, 8192, 32})  // MS_BIND, MS_MOVE, MS_REMOUNT
    refuses_mounts("has flags that no mount has",
                   [&](ImageMessage& mount) { mount.set(kMountFlags, mount.number_at(kMountFlags) | flag); });
  refuses_mounts("is of a kind that Holm does not make", [](ImageMessage& mount) {
    if (!mount.has(kMountKey)) mount.set(kMountExternal, uint64_t{1});
  });
  refuses_mounts("is of a file system", [](ImageMessage& mount) {
    if (mount.number_at(kMountType) == 5) mount.set(kMountType, uint64_t{8});  // not a tmpfs: ext4
  });
  for (const std::string key : {"../../../etc", "/etc", "bind-0", "etc", ""})
    refuses_mounts("comes from outside, and its manifest does not name it", [&](ImageMessage& mount) {
      if (mount.has(kMountKey)) mount.set(kMountKey, key);
    });
  const auto refuses_groups = [&](const std::string& words, const auto& change) {
    scene.make_evil("cgroup", [&](ImageMessage& cgroups) {
      cgroups.change(kSets, [&](ImageMessage& set) { set.change(kSetMembers, change); });
    });
    scene.refuses_at_once(words);
  };
  refuses_groups("is none of a container", [](ImageMessage& member) {
    member.set(kMemberPath, std::string("/holm/1/../../.."));
    member.set(kMemberPrefix, uint64_t{7});
  });
  refuses_groups("a cgroup's path is damaged",
                 [](ImageMessage& member) { member.set(kMemberPrefix, uint64_t{100000}); });
}

TEST_CASE(
    "a container whose root disturbs its save all the time runs on, and "
    "each save is whole or told") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box",
                     shell("(while :; do (exit 0) & wait; done) & "  // processes
                           "(while :; do echo x > /root/f; mv /root/f /root/g; "
                           "ln -s / /root/f; rm /root/f /root/g; "
                           "mkdir -p /root/d/d; mv /root/d /root/e; rm -r "
                           "/root/e; done) & "  // files
                           "(while :; do ln -sfn /etc /tmp/checkpoint; rm "
                           "/tmp/checkpoint; done) & "
                           "sleep 100000 & victim=$!; "
                           "(while :; do kill -STOP $victim; kill -CONT "
                           "$victim; done) & "  // signals
                           "(while :; do echo x | cat | cat > /dev/null; done) "
                           "& "  // pipes
                           "i=0; while :; do i=$((i+1)); echo $i >> "
                           "/root/count; sleep 0.02; done"));
  CHECK(counts_beyond(installation, "box", 2));
  size_t saved = 0;
  for (int round = 0; round < std::max(1, part_of(5)) || (saved == 0 && round < 5); ++round) {
    CAPTURE(round);
    const TimedResult result =
        holm_timed(installation, {"checkpoint", "box"}, std::to_string(20 * patience()));
    CHECK_MESSAGE((result.status == 0 || result.status == 1), result.errors);
    if (result.status == 1)
      CHECK_MESSAGE(result.errors.starts_with("holm: cannot save container 'box': "), result.errors);
    saved += result.status == 0 ? 1 : 0;
    CHECK(counts_beyond(installation, "box", counted(installation, "box")));
  }
  REQUIRE(saved > 0);
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box"});
  CHECK(counts_beyond(installation, "box", counted(installation, "box")));
}

TEST_CASE(
    "what root has put in the place of mounts, devices and directories "
    "leads a restore nowhere") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string data = installation.directory() + "/data",
                    outside = installation.directory() + "/outside";
  sys::make_directory(data, 0755);
  replace_file(data + "/file", "of the host\n");
  installation.start("box", counter() + mount_entry(data, "/data"));
  CHECK(counts_beyond(installation, "box", 2));
  const std::vector<std::string> tricks = {
      "umount -l /data && rmdir /data && ln -s " + outside + " /data",
      "umount -l /dev/shm && rmdir /dev/shm && ln -s " + outside + " /dev/shm",
      "umount -l /dev/mqueue && rmdir /dev/mqueue && ln -s / /dev/mqueue",
      "umount -l /dev/null && rm /dev/null && ln -s " + outside + "/null /dev/null",
      "mv /root /root2 && ln -s root2 /root && rm -rf /tmp && ln -s " + outside + " /tmp",
      "mount -t tmpfs tmpfs /mnt && mkdir /mnt/sub && mount --bind / /mnt/sub",
      "mkdir -p /a && mount --bind /etc /a && mv /etc /etc2 && ln -s " + outside + " /etc"};
  for (size_t number = 0; number < tricks.size(); ++number) {
    if (!is_in_part(number)) continue;
    CAPTURE(tricks[number]);
    REQUIRE(inside(installation, "box", tricks[number]).status == 0);
    const Result saved = installation.holm({"checkpoint", "box"});
    CHECK_MESSAGE((saved.status == 0 || saved.status == 1), saved.errors);
    CHECK(installation.column("box", "state") == "running");
    installation.holm_ok({"stop", "-k", "box"});
    const Result restored = installation.holm({"restore", "box"});
    CHECK_MESSAGE((restored.status == 0 || restored.status == 1), restored.errors);
    CHECK(installation.column("box", "state") == (restored.status == 0 ? "running" : "stopped"));
    CHECK_FALSE(sys::exists(outside));
    installation.holm_ok({"destroy", "--force", "box"});
    installation.start("box", counter() + mount_entry(data, "/data"));
    CHECK(counts_beyond(installation, "box", 2));
  }
  CHECK(read_file(data + "/file") == "of the host\n");
}

TEST_CASE("firewall rules are a list of rules: no commands, and no way to other files") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  std::string rules;
  for (const std::string& name : scene.images())
    if (name.starts_with("netns-")) rules = "images/nftables-" + name.substr(6);
  REQUIRE_FALSE(rules.empty());
  const auto make_evil = [&](const std::string& text) {
    scene.make_evil();
    replace_file(scene.evil() + "/" + rules, text);
    scene.change_manifest([&](json& manifest) {
      json& parts = manifest["parts"];
      if (std::ranges::none_of(parts, [&](const json& part) { return part["path"] == rules; }))
        parts.push_back({{"path", rules}, {"size", 0}, {"digest", ""}});
    });
    scene.digest_anew();
  };
  for (const char* text : {"include \"/etc/passwd\"\n", "flush ruleset\n", "\tinclude \"/etc/passwd\"\n",
                           "table ip x {\n}\ndefine y = 1\n", "list ruleset", "\xff\n"}) {
    CAPTURE(text);
    make_evil(text);
    scene.refuses_at_once("the checkpoint's firewall rules are none");
  }
  for (const std::string& text : {std::string("table ip x {\n\tgarbage\n}\n"), std::string(100'000, '\t'),
                                  "table ip x {\n" + std::string(100'000, '\n') + "}\n"}) {
    make_evil(text);
    scene.is_harmless();
  }
  make_evil("table inet x {\n\tchain y {\n\t\ttype filter hook input priority 0;\n\t}\n}\n");
  scene.restores_tamed();
}
