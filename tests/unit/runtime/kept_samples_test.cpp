// Samples that are kept in files, and the ids by which containers are told apart.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "runtime/kept_samples.h"
#include "runtime/state.h"
#include "runtime/uuid.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::runtime;
using holm::test::TemporaryDirectory;
using quotas::Quantity;

namespace {

constexpr uint64_t kMost = 1'000'000'000'000'000'000;  // more is forged

quotas::LedgerSample sample_at(int64_t boottime) {
  quotas::LedgerSample sample;
  sample.uuid = "0d5f7c2e-0000-4000-8000-000000000001";
  sample.name = "web";
  sample.boot_id = "boot";
  sample.boottime_ns = boottime;
  sample.walltime_ns = 1'795'000'000'000'000'000;
  sample.run = quotas::RunClock{"boot/42/7", 5, 99, true};
  sample.meters = {{Quantity::cpu, "cpu", "boot/1", kMost},
                   {Quantity::net_sent_bytes, "link hm7", "boot/2", 3}};
  sample.memory_held = 4096;
  sample.memory_life = "boot/3";
  sample.counters = {{"numproc", 1, 2, 3}};
  sample.counters_life = "boot/1";
  return sample;
}

std::string refusal(const std::string& text) {
  try {
    decode_sample(text);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("a kept sample comes back as it was") {
  const auto back = decode_sample(encode_sample(sample_at(1)));
  CHECK(back.uuid == sample_at(1).uuid);
  CHECK(back.run->id == "boot/42/7");
  CHECK(back.run->has_ended);
  CHECK(back.meters[0].total == kMost);
  CHECK(back.meters[1].quantity == Quantity::net_sent_bytes);
  CHECK(back.meters[1].source == "link hm7");
  CHECK(back.memory_held == 4096U);
  CHECK_FALSE(back.memory_peak);
  CHECK(back.counters[0].failures == 3);
  CHECK(encode_sample(back) == encode_sample(sample_at(1)));
  auto without = sample_at(1);
  without.run.reset();
  CHECK_FALSE(decode_sample(encode_sample(without)).run);
}

TEST_CASE("what is no kept sample is refused") {
  CHECK(refusal("{}").starts_with("not a kept sample"));
  CHECK(refusal("").starts_with("not a kept sample"));
  CHECK(refusal("{\"version\": 2}") == "written by a newer version of Holm");
  std::string text = encode_sample(sample_at(1));
  text.replace(text.find("cpu_ns"), 6, "spu_ns");
  CHECK(refusal(text) == "unknown quantity 'spu_ns'");
  auto forged = sample_at(1);
  forged.meters[0].total = kMost + 1;
  CHECK(refusal(encode_sample(forged)) == "no kernel counts 1000000000000000001");
}

TEST_CASE("kept samples are found oldest first, by container, and a damaged one stands in nobody's way") {
  const TemporaryDirectory directory;
  Paths paths;
  paths.state = directory.path() + "/state";
  paths.run = directory.path() + "/run";
  sys::make_directory(paths.state, 0700);
  sys::make_directory(paths.run, 0700);
  for (const int64_t boottime : {2'000'000'000, 90, 1'000})
    keep_sample(paths, sample_at(boottime), LedgerDisk::answers);
  auto other = sample_at(5);
  other.uuid = "ffffffff-0000-4000-8000-000000000001";
  keep_sample(paths, other, LedgerDisk::answers);
  write_file_durably(paths.state + "/ledger.kept/" + other.uuid + "-7.json", "{");
  REQUIRE(::mkfifo((paths.state + "/ledger.kept/" + other.uuid + "-8.json").c_str(), 0600) == 0);
  std::vector<std::string> warnings;
  const auto files = kept_samples(paths, sample_at(0).uuid, warnings);
  REQUIRE(files.size() == 3);
  CHECK(files[0].kept.sample.boottime_ns == 90);
  CHECK(files[2].kept.sample.boottime_ns == 2'000'000'000);
  CHECK(files[0].kept.id != files[1].kept.id);
  CHECK(warnings.empty());
  CHECK(kept_samples(paths, "", warnings).size() == 4);
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0].find("not a kept sample") != std::string::npos);
  CHECK(warnings[1].ends_with("-8.json': it is no file"));
  for (const auto& file : files) remove_kept(file.path);
  CHECK(kept_samples(paths, "", warnings).size() == 1);
}

TEST_CASE("of two boots the earlier one's samples come first, whatever the clocks since them say") {
  const TemporaryDirectory directory;
  Paths paths;
  paths.state = directory.path() + "/state";
  paths.run = directory.path() + "/run";
  sys::make_directory(paths.state, 0700);
  auto before = sample_at(900'000);
  auto now = sample_at(60);
  now.boot_id = current_boot_id();
  now.walltime_ns = before.walltime_ns - 1;  // the clock was set back
  keep_sample(paths, now, LedgerDisk::answers);
  keep_sample(paths, before, LedgerDisk::answers);
  std::vector<std::string> warnings;
  const auto files = kept_samples(paths, "", warnings);
  REQUIRE(files.size() == 2);
  CHECK(files[0].kept.sample.boottime_ns == 900'000);
  CHECK(files[1].kept.sample.boottime_ns == 60);
}

TEST_CASE("where the disk takes nothing, a sample is kept below the run directory") {
  const TemporaryDirectory directory;
  Paths paths;
  paths.state = directory.path() + "/state";  // a file: nothing can be made below it
  paths.run = directory.path() + "/run";
  replace_file(paths.state, "");
  sys::make_directory(paths.run, 0700);
  keep_sample(paths, sample_at(1), LedgerDisk::answers);
  keep_sample(paths, sample_at(1), LedgerDisk::hangs);  // the same file
  const auto names = list_directory(paths.run + "/.ledger.kept");
  REQUIRE(names.size() == 1);
  remove_kept(paths.run + "/.ledger.kept/" + names[0]);
  CHECK(list_directory(paths.run).empty());
}

TEST_CASE("uuids are random, and derived ones stay what they are") {
  const std::string one = make_uuid(), other = make_uuid();
  CHECK(is_uuid(one));
  CHECK(one[14] == '4');
  CHECK(one != other);
  for (const char* text : {"", "0d5f7c2e", "0d5f7c2e-0000-4000-8000-00000000000g",
                           "0D5F7C2E-0000-4000-8000-000000000001", "0d5f7c2e00000-4000-8000-000000000001"})
    CHECK_FALSE(is_uuid(text));

  const TemporaryDirectory directory;
  const std::string file = directory.path() + "/identity.json";
  replace_file(file, "1");
  const std::string derived = derive_uuid(file, 7);
  CHECK(is_uuid(derived));
  sys::rename(file, file + ".moved");
  CHECK(derive_uuid(file + ".moved", 7) == derived);
  CHECK(derive_uuid(file + ".moved", 8) != derived);
}
