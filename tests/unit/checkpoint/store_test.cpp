#include "checkpoint/store.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "runtime/suspended.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::checkpoint;

namespace {

// A container's directory, as its store knows it.
class Scene {
 public:
  Scene() {
    paths.state = directory_.path();
    paths.run = directory_.path() + "/run";
    sys::make_directories(paths.container("box"), 0700);
  }
  std::string store() const { return runtime::checkpoint_store(paths, "box"); }
  Manifest manifest(const std::string& holm) const {
    Manifest made;
    made.name = "box";
    made.holm = holm;
    return made;
  }
  void keep(const std::string& tag, const std::string& holm = "1") const {
    Draft draft(paths, "box", tag);
    write_manifest(draft.directory(), manifest(holm));
    draft.keep();
  }
  // A process that is gone.
  static pid_t nobody() {
    pid_t pid = 4'000'000;
    while (sys::exists("/proc/" + std::to_string(pid))) --pid;
    return pid;
  }

  runtime::Paths paths;

 private:
  test::TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("tags are names of one label") {
  for (const char* good : {"a", "latest", "before-upgrade", "0", "X1"}) {
    CAPTURE(good);
    CHECK_NOTHROW(check_tag(good));
  }
  for (const std::string& bad : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                 std::string("a.b"), std::string("-a"), std::string("a-"), std::string("a b"),
                                 std::string(64, 'a'), std::string("a\0b", 3)}) {
    CAPTURE(bad);
    try {
      check_tag(bad);
      CHECK(false);
    } catch (const Error& error) {
      CHECK(std::string(error.message()).ends_with("is no tag"));
      CHECK(error.exit_status() == 2);
    }
  }
}

TEST_CASE("a draft is seen by nobody, and gone unless it is kept") {
  const Scene scene;
  {
    const Draft draft(scene.paths, "box", "one");
    write_manifest(draft.directory(), scene.manifest("1"));
    CHECK(sys::exists(draft.images()));
    CHECK(list_tags(scene.paths, "box").empty());
    CHECK((sys::stat_path(draft.directory())->st_mode & 0777) == 0700);
  }
  CHECK(list_directory(scene.store()).empty());
  scene.keep("one");
  CHECK(list_tags(scene.paths, "box") == std::vector<std::string>{"one"});
  CHECK(list_directory(scene.store()) == std::vector<std::string>{"one"});
  CHECK(read_manifest(tag_directory(scene.paths, "box", "one")).holm == "1");
}

TEST_CASE("a tag that is kept again takes the other's place, and one without a manifest is none") {
  const Scene scene;
  scene.keep("one", "1");
  scene.keep("one", "2");
  CHECK(read_manifest(tag_directory(scene.paths, "box", "one")).holm == "2");
  CHECK(list_directory(scene.store()) == std::vector<std::string>{"one"});
  sys::make_directories(scene.store() + "/half/images", 0700);
  CHECK(list_tags(scene.paths, "box") == std::vector<std::string>{"one"});
  CHECK_FALSE(has_checkpoint(tag_directory(scene.paths, "box", "half")));
}

TEST_CASE("what is not there is told with what there is") {
  const Scene scene;
  CHECK(no_checkpoint(scene.paths, "box", "x").message() == std::string("it has no checkpoint 'x'"));
  CHECK(list_tags(scene.paths, "nobody").empty());
  CHECK(tag_to_restore(scene.paths, "box", "") == "latest");
  CHECK(tag_to_restore(scene.paths, "box", "mine") == "mine");
  scene.keep("suspended");
  CHECK(tag_to_restore(scene.paths, "box", "") == "suspended");
}

TEST_CASE("drafts of killed commands are removed, those of others that run are not") {
  const Scene scene;
  scene.keep("one");
  const std::string dead = std::to_string(Scene::nobody()), alive = std::to_string(::getppid());
  for (const std::string& name :
       {".one." + dead + ".new", ".work." + dead + ".new", ".one." + alive + ".new"})
    sys::make_directories(scene.store() + "/" + name + "/images", 0700);
  runtime::settle_checkpoints(scene.paths, "box");
  CHECK_FALSE(sys::exists(scene.store() + "/.one." + dead + ".new"));
  CHECK_FALSE(sys::exists(scene.store() + "/.work." + dead + ".new"));
  CHECK(sys::exists(scene.store() + "/one/manifest.json"));
}

TEST_CASE("a work directory links files, and its end leaves theirs") {
  const Scene scene;
  const std::string images = scene.paths.state + "/images";
  sys::make_directories(images + "/parent/parent", 0700);
  replace_file(images + "/image", "content");
  replace_file(images + "/parent/parent/older", "older content");
  CHECK(image_levels(images).size() == 3);
  {
    WorkDirectory work(scene.store());
    work.link_images(images);
    CHECK(read_file(work.path() + "/image") == "content");
    CHECK(read_file(work.path() + "/parent/parent/older") == "older content");
    CHECK((sys::stat_path(work.path())->st_mode & 0777) == 0700);
  }
  CHECK(read_file(images + "/image") == "content");
  CHECK(list_directory(scene.store()).empty());
  std::string deeper = images;
  for (unsigned level = 0; level < kMaxLevels + 1; ++level) deeper += "/parent";
  sys::make_directories(deeper, 0700);
  CHECK_THROWS_AS(image_levels(images), Error);
}

TEST_CASE("the mark of what is no longer true is set and taken back, and is no part") {
  const Scene scene;
  scene.keep("suspended");
  const std::string directory = tag_directory(scene.paths, "box", "suspended");
  CHECK_FALSE(is_untrue(directory));
  CHECK(runtime::is_suspended(scene.paths, "box"));
  mark_untrue(directory);
  CHECK(is_untrue(directory));
  CHECK_FALSE(runtime::is_suspended(scene.paths, "box"));
  unmark_untrue(directory);
  CHECK(runtime::is_suspended(scene.paths, "box"));
  runtime::drop_suspended(scene.paths, "box");
  CHECK_FALSE(sys::exists(directory));
}
