#include "storage/template_store.h"

#include <fmt/core.h>
#include <fts.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/undo.h"
#include "storage/root_check.h"

namespace holm::storage {
namespace {

using std::chrono::seconds;

void check_name(const std::string& name) {
  if (is_dns_label(name)) return;
  throw usage_error(
      fmt::format("template name '{}': not 1 to 63 letters, digits and hyphens", printable(name)));
}

// Only a clash of process numbers (two pid namespaces, or a collector at work) makes this wait.
FileLock lock_draft(const std::string& lock_path, const std::string& name) {
  return FileLock::acquire(lock_path, seconds(5),
                           fmt::format("another command works on template '{}'", name));
}

void sync_file_system(const std::string& path) {
  const UniqueFd fd = sys::open(path, O_RDONLY | O_DIRECTORY);
  if (::syncfs(fd.get()) != 0) throw Error::system(fmt::format("sync the file system of '{}'", path));
}

void check_root(const std::string& root, const std::string& name) {
  check_root_file_system(sys::open(root, O_PATH | O_DIRECTORY | O_NOFOLLOW).get(), name);
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += fmt::format("{}'{}'", out.empty() ? "" : ", ", name);
  return out;
}

void add_tree(const std::string& root, TemplateDetails& details) {
  std::string path = root;
  char* paths[] = {path.data(), nullptr};
  const std::unique_ptr<FTS, int (*)(FTS*)> walk(
      ::fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, nullptr), ::fts_close);
  if (!walk) throw Error::system(fmt::format("read directory '{}'", root));
  std::set<ino_t> seen;
  while (const FTSENT* entry = ::fts_read(walk.get())) {
    if (entry->fts_info == FTS_DP) continue;
    if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS)
      throw Error::system(entry->fts_errno, fmt::format("read '{}'", printable(entry->fts_path)));
    const struct stat& status = *entry->fts_statp;
    ++(S_ISDIR(status.st_mode) ? details.directories : details.files);
    const bool counted =
        !S_ISDIR(status.st_mode) && status.st_nlink > 1 && !seen.insert(status.st_ino).second;
    if (!counted) details.disk_bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
}

}  // namespace

TemplateInfo TemplateStore::read(const std::string& name) const {
  const std::string path = path_of(name) + "/template.toml";
  const auto text = read_file_if_exists(path);
  if (!text) throw Error("it has no template.toml");
  TemplateInfo info = with_frame("template.toml", [&] { return parse_template_info(*text); });
  info.name = name;
  info.root = path_of(name) + "/root";
  const auto root = sys::stat_path(info.root);
  if (!root || !S_ISDIR(root->st_mode)) throw Error("it has no root directory");
  return info;
}

std::vector<TemplateEntry> TemplateStore::list() const {
  std::vector<TemplateEntry> entries;
  for (const std::string& name : list_directory(directory_)) {
    if (!is_dns_label(name)) continue;  // drafts, 'lost+found'
    TemplateEntry entry;
    try {
      entry.info = read(name);
    } catch (const Error& error) {
      entry.info.name = name;
      entry.info.root = path_of(name) + "/root";
      entry.damage = error.message();
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string TemplateStore::names() const {
  std::vector<std::string> names;
  for (const TemplateEntry& entry : list()) names.push_back(entry.info.name);
  return names.empty() ? "none" : join(names, ", ");
}

TemplateInfo TemplateStore::find(const std::string& name) const {
  check_name(name);
  if (!sys::exists(path_of(name)))
    throw Error(fmt::format("missing template '{}': there is none of that name; have: {}", name, names()))
        .hint(fmt::format("holm template build {}", name == "debian" ? "debian" : "busybox"));
  try {
    return read(name);
  } catch (Error& error) {
    error.frame(fmt::format("template '{}' is damaged", name));
    if (error.hints().empty())
      error.hint(fmt::format("remove it and make it again: holm template remove {}", name));
    throw;
  }
}

UniqueFd TemplateStore::open_root(const std::string& name) const {
  return sys::open(find(name).root, O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

TemplateDetails TemplateStore::inspect(const std::string& name) const {
  TemplateDetails details;
  details.info = find(name);
  add_tree(details.info.root, details);
  return details;
}

void TemplateStore::remove(const std::string& name, const std::vector<std::string>& users) {
  check_name(name);
  collect_leftovers();
  if (!sys::exists(path_of(name)))
    throw Error(
        fmt::format("cannot remove template '{}': there is none of that name; have: {}", name, names()));
  if (!users.empty())
    throw Error(fmt::format("cannot remove template '{}': in use by {} {}", name,
                            users.size() == 1 ? "container" : "containers", quoted_list(users)))
        .hint(fmt::format("holm destroy {}", join(users, " ")));
  with_frame(fmt::format("cannot remove template '{}'", name), [&] {
    const std::string hidden = fmt::format("{}/.{}.{}", directory_, name, ::getpid());
    const FileLock lock = lock_draft(hidden + ".lock", name);
    step("hide template", [&] {
      sys::remove_tree(hidden + ".old");  // of a process that had our number
      sys::rename(path_of(name), hidden + ".old");
      sync_directory(directory_);
    });
    step("delete template", [&] { sys::remove_tree(hidden + ".old"); });
    sys::remove_file(hidden + ".lock");
  });
}

TemplateInfo TemplateStore::create(const std::string& name,
                                   const std::function<TemplateInfo(const std::string& root)>& build) {
  check_name(name);
  sys::make_directories(directory_, 0700);
  collect_leftovers();
  if (sys::exists(path_of(name)))
    throw Error(fmt::format("cannot make template '{}': there is one of that name already", name))
        .hint(fmt::format("holm template remove {}", name));
  const std::string hidden = fmt::format("{}/.{}.{}", directory_, name, ::getpid());
  const std::string draft = hidden + ".new";
  const auto sequence = [&](UndoStack& undo) {
    const FileLock lock = lock_draft(hidden + ".lock", name);
    undo.push("remove lock", [&] { sys::remove_file(hidden + ".lock"); });
    undo.push("remove draft", [&] { sys::remove_tree(draft); });
    step("make draft", [&] {
      sys::remove_tree(draft);  // of a process that had our number
      // 0700 keeps everybody on the host away from setuid programs in it.
      sys::make_directory(draft, 0700);
      sys::make_directory(draft + "/root", 0755);
      sys::chmod_fd(sys::open(draft + "/root", O_RDONLY | O_DIRECTORY).get(), 0755,
                    draft);  // whatever the umask
    });
    TemplateInfo info = step("fill template", [&] { return build(draft + "/root"); });
    step("check template", [&] { check_root(draft + "/root", name); });
    step("describe template", [&] {
      info.created = timestamp_now();
      info.format = kTemplateFormat;
      write_file_durably(draft + "/template.toml", format_template_info(info));
    });
    step("sync template", [&] { sync_file_system(draft); });
    step("publish template", [&] {
      try {
        sys::rename_new(draft, path_of(name));
      } catch (const Error& error) {
        if (error.error_number() != EEXIST) throw;
        throw Error("another command has made one of that name meanwhile");
      }
      sync_directory(directory_);
    });
    info.name = name;
    info.root = path_of(name) + "/root";
    sys::remove_file(hidden + ".lock");
    undo.dismiss();
    return info;
  };
  return with_frame(fmt::format("cannot make template '{}'", name), [&] { return with_undo(sequence); });
}

Leftovers TemplateStore::collect_leftovers() {
  Leftovers result;
  std::set<std::string> drafts;  // '.NAME.PID'
  for (const std::string& name : list_directory(directory_)) {
    const size_t dot = name.rfind('.');
    if (!name.starts_with('.') || dot == 0) continue;
    const std::string ending = name.substr(dot);
    if (ending == ".new" || ending == ".old" || ending == ".lock") drafts.insert(name.substr(0, dot));
  }
  for (const std::string& draft : drafts) {
    try {
      const auto lock = FileLock::try_acquire(path_of(draft) + ".lock");
      if (!lock) continue;  // somebody lives and works on it
      for (const char* ending : {".new", ".old"}) {
        if (sys::remove_tree(path_of(draft) + ending)) result.removed.push_back(draft + ending);
      }
      sys::remove_file(path_of(draft) + ".lock");
    } catch (const Error& error) {
      result.problems.push_back(error.message());
    }
  }
  return result;
}

}  // namespace holm::storage
