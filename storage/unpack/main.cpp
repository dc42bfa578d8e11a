// holm-unpack: see storage/unpack_program.h for how it is called.
#include <sys/stat.h>
#include <unistd.h>

#include <clocale>
#include <new>
#include <string_view>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "storage/unpack/confine.h"
#include "storage/unpack/copy_directory.h"
#include "storage/unpack/read_archive.h"
#include "storage/unpack/root_writer.h"
#include "storage/unpack_program.h"

namespace holm::unpack {
namespace {

constexpr int kSource = 0;
constexpr int kOutcome = 1;
constexpr int kTarget = 3;

storage::UnpackReport unpack(std::string_view kind, uint64_t max_bytes, uint64_t max_entries,
                             const storage::ReadRules& rules) {
  // Names in archives are UTF-8; in the C locale libarchive would not take them. It is built into the C
  // library.
  std::setlocale(LC_CTYPE, "C.UTF-8");
  ::umask(0);  // each entry has its own mode
  confine(kTarget, max_bytes, rules.is_changes);
  RootWriter writer(kTarget);
  storage::ImportBudget budget(max_entries, max_bytes);
  Notes notes;
  if (kind != "directory") {
    read_archive(kSource, writer, rules, budget, notes);
  } else {
    copy_directory(kSource, kTarget, writer, budget, notes);
  }
  writer.finish();
  return {budget.entries(), budget.bytes(), notes.sentences()};
}

std::string outcome_of(std::string_view kind, uint64_t max_bytes, uint64_t max_entries,
                       const storage::ReadRules& rules) {
  try {
    return storage::encode_report(unpack(kind, max_bytes, max_entries, rules));
  } catch (const Error& error) {
    return storage::encode_failure(error);
  } catch (const std::bad_alloc&) {
    return storage::encode_failure(Error("it needs more memory than an import is given"));
  } catch (const std::exception& error) {
    return storage::encode_failure(Error(error.what()));
  }
}

}  // namespace
}  // namespace holm::unpack

int main(int count, char** arguments) {
  using namespace holm;
  const std::string_view kind = count > 1 ? arguments[1] : "";
  const bool is_changes = kind == "changes";
  const bool is_known =
      (is_changes && count == 6) || ((kind == "archive" || kind == "directory") && count == 4);
  const auto number = [&](int index) {
    return parse_unsigned(is_known && index < count ? arguments[index] : "0");
  };
  const auto max_bytes = number(2), max_entries = number(3), from = number(4), to = number(5);
  if (!is_known || !max_bytes || !max_entries || !from || !to || *from > UINT32_MAX || *to > UINT32_MAX) {
    constexpr std::string_view kUsage = "holm-unpack is run by 'holm template import' and 'holm restore'\n";
    return ::write(2, kUsage.data(), kUsage.size()) < 0 ? kExitFailed : kExitUsage;
  }
  const storage::ReadRules rules = {is_changes, static_cast<uint32_t>(*from), static_cast<uint32_t>(*to)};
  const std::string outcome = unpack::outcome_of(kind, *max_bytes, *max_entries, rules);
  ignore_errors(
      [&] { sys::write_all(unpack::kOutcome, outcome, "the outcome"); });  // nobody is there to be told
  return outcome.starts_with("error") ? kExitFailed : 0;
}
