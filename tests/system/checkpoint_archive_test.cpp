// Archives that are made to reach beyond the directory that they are unpacked
// in, or to fill the disk.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/file.h"
#include "base/sys.h"
#include "tests/support/evil_checkpoint.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

// The head of a tar archive's first entry says that it has 2^63 - 1 bytes.
std::string with_endless_entry(std::string tar) {
  const std::string size("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12);
  tar.replace(124, size.size(), size);
  tar.replace(148, 8, "        ");
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(tar[i]);
  tar.replace(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return tar;
}

}  // namespace

TEST_CASE(
    "archives with what is no part of a checkpoint are refused, and "
    "nothing of them is left") {
  HOLM_REQUIRES("root, CRIU, zstd", have_criu() && have_zstd());
  const EvilFile scene;
  const std::string outside = scene.installation.directory() + "/outside";
  const std::string rest = " manifest.json images files.tar | zstd -q -f -o evil.holm";
  const std::vector<std::pair<std::string, std::string>> scripts = {
      {"a name with ..",
       "echo x > d/outside; tar -C d -P -c --transform "
       "'s,^outside,../outside,' outside" +
           rest},
      {"an absolute name",
       "echo x > d/outside; tar -C d -P -c --transform 's,^outside," + outside + ",' outside" + rest},
      {"a device", "mknod d/images/disk.img b 8 0; tar -C d -c" + rest},
      {"a FIFO", "mkfifo d/images/fifo.img; tar -C d -c" + rest},
      {"a symbolic link as an image", "ln -s /etc/passwd d/images/x.img; tar -C d -c" + rest},
      {"the images behind a symbolic link",
       "mkdir outside; mv d/images d/real; ln -s ../outside d/images; "
       "tar -C d -c -f g.tar images; (cd d; find real -type f) > names; "
       "tar -C d -r -f g.tar --transform 's,^real,images,' -T names "
       "manifest.json files.tar; "
       "zstd -q -f g.tar -o evil.holm; rm g.tar names; [ -z \"$(ls outside)\" "
       "]; rmdir outside"},
      {"a hard link to outside", "tar -C d -c" + rest +
                                     "; mkdir -p e; echo x > e/a; ln e/a e/b; tar -C e -P -c "
                                     "--transform 's,^a,/etc/passwd,' a b > h.tar; zstd -q -d -c "
                                     "evil.holm > g.tar; "
                                     "tar --concatenate -f g.tar h.tar; zstd -q -f g.tar -o evil.holm; "
                                     "rm -r e g.tar h.tar"},
      {"a directory more", "mkdir d/images/more; touch d/images/more/x; tar -C d -c" + rest},
      {"a file more", "touch d/more; tar -C d -c more" + rest},
      {"no manifest", "tar -C d -c images files.tar | zstd -q -f -o evil.holm"},
      {"nothing", "tar -c -T /dev/null | zstd -q -f -o evil.holm"},
      {"an image twice",
       "tar -C d -c -f g.tar manifest.json images files.tar; "
       "echo x > d/images/pstree.img; "
       "tar -C d -r -f g.tar images/pstree.img; zstd -q -f "
       "g.tar -o evil.holm; rm g.tar"},
      {"two manifests",
       "tar -C d -c -f g.tar manifest.json images files.tar; "
       "echo '{}' > d/manifest.json; "
       "tar -C d -r -f g.tar manifest.json; zstd -q -f g.tar "
       "-o evil.holm; rm g.tar"},
      {"a manifest of 100 MB",
       "{ printf '{\"x\": \"'; head -c 100000000 "
       "/dev/zero | tr '\\0' y; printf '\"}'; } > "
       "d/manifest.json; tar -C d -c" +
           rest},
      {"a manifest that is deep",
       "head -c 5000000 /dev/zero | tr '\\0' '[' > "
       "d/manifest.json; tar -C d -c" +
           rest}};
  for (size_t number = 0; number < scripts.size(); ++number) {
    if (!is_in_part(number)) continue;
    const auto& [what, script] = scripts[number];
    CAPTURE(what);
    scene.take_apart();
    scene.runs(script);
    scene.refuses_evil();
    CHECK_FALSE(sys::exists(outside));
    CHECK_FALSE(sys::exists(scene.installation.state_directory() + "/containers/outside"));
  }
}

TEST_CASE(
    "a container's files that lead out of its root are refused, whatever "
    "the digest says") {
  HOLM_REQUIRES("root, CRIU, zstd", have_criu() && have_zstd());
  const EvilFile scene;
  const std::string outside = scene.installation.directory() + "/outside";
  const std::vector<std::pair<std::string, std::string>> scripts = {
      {"a name with ..",
       "echo x > outside; tar -P -c --transform 's,^outside,../../outside,' -f "
       "../d/files.tar outside"},
      {"an absolute name",
       "echo x > outside; tar -P -c --transform 's,^outside," + outside + ",' -f ../d/files.tar outside"},
      {"a device", "mknod disk b 8 0; tar -c -f ../d/files.tar disk"},
      {"below a symbolic link",
       "mkdir real; touch real/x; ln -s / link; tar "
       "-c --transform 's,^real,link,' "
       "-f ../d/files.tar link real"},
      {"a hard link to outside",
       "touch a; ln a b; tar -P -c --transform "
       "'s,^a,/etc/passwd,' -f ../d/files.tar a b"},
      {"garbage", "head -c 100000 /dev/urandom > ../d/files.tar"}};
  for (size_t number = 0; number < scripts.size(); ++number) {
    if (!is_in_part(number)) continue;
    const auto& [what, script] = scripts[number];
    CAPTURE(what);
    scene.take_apart();
    scene.runs("mkdir e; cd e; " + script + "; cd ..; rm -rf e");
    scene.change_manifest([&](json& manifest) {
      for (json& part : manifest["parts"]) {
        if (part["path"] != "files.tar") continue;
        part["size"] = std::filesystem::file_size(scene.parts() + "/files.tar");
        part["digest"] = run_host({"sha256sum", scene.parts() + "/files.tar"}).out.substr(0, 64);
      }
    });
    scene.put_together();
    scene.refuses_evil();
    CHECK_FALSE(sys::exists(outside));
  }
}

TEST_CASE(
    "an archive that swells is stopped where the disk's room ends, in "
    "short time") {
  HOLM_REQUIRES("root, CRIU, zstd", have_criu() && have_zstd());
  EvilFile scene;
  scene.take_apart();
  scene.runs(
      "truncate -s 256M d/images/pages-1.img; tar -C d -c manifest.json "
      "images files.tar | zstd -q -f -o "
      "evil.holm; rm -r d");
  CHECK(std::filesystem::file_size(scene.evil()) < 2'000'000);
  {
    const HostMount room({"-t", "tmpfs", "-o", "size=32m", "tmpfs"},
                         scene.installation.state_directory() + "/containers");
    scene.look();
    scene.refuses_evil();
  }
  scene.look();
  // One that only says so: nothing has room for it.
  scene.take_apart();
  scene.runs("tar -C d -c -f g.tar manifest.json images files.tar");
  replace_file(scene.installation.directory() + "/g.tar",
               with_endless_entry(read_all(scene.installation.directory() + "/g.tar")));
  scene.runs("zstd -q -f g.tar -o evil.holm");
  scene.refuses_evil();
}

TEST_CASE("the files of a tmpfs, which CRIU unpacks with tar, stay within it") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  // Where also the container's root could write.
  const std::string outside = scene.installation.directory() + "/outside";
  ::chmod(scene.installation.directory().c_str(), 0755);
  sys::make_directory(outside, 0755);
  ::chmod(outside.c_str(), 0777);
  scene.make_evil();
  size_t found = 0;
  for (const std::string& name : scene.images()) {
    if (!name.starts_with("tmpfs-")) continue;
    const Result packed =
        run_host({"sh", "-c",
                  fmt::format("set -e; cd {0}; echo x > evil; ln -s {0} out; mkdir sub; echo x "
                              "> sub/evil; "
                              "tar -P -c -f two.tar --transform "
                              "'s,^evil,../../../../../../../../..{0}/dots,' evil; "
                              "tar -P -r -f two.tar --transform 's,^evil,{0}/absolute,' evil; "
                              "tar -r -f two.tar out; tar -r -f two.tar --transform "
                              "'s,^sub,out,' sub/evil; "
                              "gzip -c two.tar > {1}; rm -r evil out sub two.tar",
                              outside, scene.evil() + "/images/" + name)});
    REQUIRE_MESSAGE(packed.status == 0, packed.errors);
    ++found;
  }
  CHECK(found > 0);
  scene.digest_anew();
  scene.is_harmless();
  CHECK(list_directory(outside).empty());
}
