#include "storage/import_template.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/unit.h"
#include "storage/unpack_program.h"

namespace holm::storage {
namespace {

struct OpenedSource {
  UniqueFd fd;
  ImportSource kind;
};

OpenedSource open_source(const std::string& path) {
  if (path == "-") {
    UniqueFd fd(::fcntl(0, F_DUPFD_CLOEXEC, 3));
    if (!fd) throw Error::system("open standard input");
    return {std::move(fd), ImportSource::archive};
  }
  // O_NONBLOCK: a FIFO would make us wait for a writer.
  UniqueFd fd = sys::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  const mode_t mode = sys::stat_fd(fd.get(), path).st_mode;
  if (S_ISDIR(mode)) return {std::move(fd), ImportSource::directory};
  if (S_ISREG(mode)) return {std::move(fd), ImportSource::archive};
  throw Error(fmt::format("'{}' is neither a directory nor a regular file", printable(path)));
}

std::string described_source(const std::string& path) {
  return path == "-" ? "standard input" : std::filesystem::absolute(path).lexically_normal().string();
}

}  // namespace

TemplateInfo import_template(TemplateStore& store, const std::string& name, const ImportOptions& options,
                             const Progress& progress) {
  const OpenedSource source = open_source(options.source);
  return store.create(name, [&](const std::string& root) {
    const UniqueFd target = sys::open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const UnpackReport report = step("unpack", [&] {
      return with_frame(fmt::format("import '{}'", printable(options.source)), [&] {
        return run_unpack_program(source.kind, source.fd.get(), target.get(), options.max_bytes,
                                  options.max_entries);
      });
    });
    if (progress) {
      for (const std::string& note : report.notes) progress(note);
      progress(fmt::format("{} entries, {}", report.entries, describe_bytes(Bytes{report.bytes})));
    }
    TemplateInfo info;
    info.kind = "import";
    info.source = described_source(options.source);
    return info;
  });
}

}  // namespace holm::storage
