#include "storage/debian_template.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "storage/child_program.h"

namespace holm::storage {
namespace {

constexpr std::string_view kSuites[] = {"bookworm", "trixie"};

// On top of apt and what Debian holds for required: an init, its bus, and what one looks around with.
// Addresses and names are the runtime's to set, so there is no ifupdown.
constexpr const char* kBasePackages[] = {"systemd", "systemd-sysv", "dbus", "iproute2", "procps", "netbase"};

constexpr const char* kDebianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

// What a build may leave behind that belongs to this host, or that each container must make anew.
constexpr const char* kNotForTemplates[] = {
    "etc/resolv.conf",
    "etc/hostname",
    "usr/sbin/policy-rc.d",
    "var/lib/dbus/machine-id",
    "etc/apt/apt.conf",
    "etc/apt/auth.conf",
    "var/lib/systemd/random-seed",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "var/log/bootstrap.log",
    "var/cache/ldconfig/aux-cache",
};

constexpr const char* kEmptied[] = {
    "dev", "proc", "sys", "run", "tmp", "var/tmp", "var/cache/apt/archives", "var/lib/apt/lists"};

std::vector<std::string> packages_of(const DebianOptions& options) {
  std::vector<std::string> packages(std::begin(kBasePackages), std::end(kBasePackages));
  for (const std::string& package : options.packages) {
    if (std::find(packages.begin(), packages.end(), package) == packages.end()) packages.push_back(package);
  }
  return packages;
}

bool is_package_name(std::string_view name) {
  // Debian policy 5.6.7. Nothing else gets onto the builder's command line, which also takes paths and
  // patterns.
  const auto is_alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return name.size() >= 2 && is_alphanumeric(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_alphanumeric(c) || c == '+' || c == '-' || c == '.'; });
}

std::string find_builder() {
  for (const char* name : {"mmdebstrap", "debootstrap"}) {
    const std::string path = find_program(name);
    if (!path.empty()) return path;
  }
  throw Error("this host has neither mmdebstrap nor debootstrap").hint("apt-get install mmdebstrap");
}

std::vector<AptSource> sources_of_host(const std::string& suite) {
  std::vector<AptSource> sources = choose_debian_sources(read_apt_sources(), suite);
  if (sources.empty())
    throw Error(
        "this host's apt has no source of Debian: no enabled entry for 'main' of a Debian suite in /etc/apt")
        .hint(
            "add one (man 5 sources.list), or import a root file system: holm template import NAME DIR|TAR");
  for (AptSource& source : sources)
    source.uri =
        resolve_mirror_list(source.uri, [](const std::string& path) { return read_file_if_exists(path); });
  return sources;
}

std::vector<std::string> builder_environment() {
  std::vector<std::string> environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                          "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"};
  // Handed over by the environment, the host's proxies are used and leave no trace in the template.
  const ProgramResult config = run_program(std::vector<std::string>{"apt-config", "dump"});
  for (std::string& variable : proxy_environment(config.output)) environment.push_back(std::move(variable));
  return environment;
}

// The builder's lines: those for people go on, the last ones are kept for the error.
class BuilderLog {
 public:
  explicit BuilderLog(const Progress& progress) : progress_(progress) {}

  void add(std::string_view chunk) {
    for (const char c : chunk) {
      if (c != '\n' && c != '\r') {
        if (line_.size() < 500) line_ += c;
        continue;
      }
      take(printable(trim(line_)));
      line_.clear();
    }
  }

  // The first complaint says what went wrong; later ones tell what came of it.
  std::string cause() const { return !complaint_.empty() ? complaint_ : last_; }

 private:
  void take(const std::string& line) {
    if (line.empty()) return;
    if (line.starts_with("I: ") && progress_) progress_(line.substr(3));
    if (line.starts_with("E: ") && complaint_.empty()) complaint_ = line.substr(3);
    last_ = line;
  }

  const Progress& progress_;
  std::string line_;
  std::string last_;
  std::string complaint_;
};

void run_builder(const std::vector<std::string>& command, const Progress& progress) {
  ChildProgram program;
  program.command = command;
  program.environment = builder_environment();
  program.namespaces = ChildNamespaces::own_pids_and_mounts;
  BuilderLog log(progress);
  const int status = run_child_program(program, [&](std::string_view chunk) { log.add(chunk); });
  log.add("\n");
  if (status != 0)
    throw Error(fmt::format("{} ended with status {}: {}", command.front(), status, log.cause()));
}

UniqueFd open_directory_of(int root, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  return sys::open_confined(root, parent, O_RDONLY | O_DIRECTORY, sys::Confine::in_root);
}

void remove_in_root(int root, const std::string& path) {
  try {
    const UniqueFd parent = open_directory_of(root, path);
    if (::unlinkat(parent.get(), path.substr(path.rfind('/') + 1).c_str(), 0) != 0 && errno != ENOENT)
      throw Error::system(fmt::format("remove '{}'", path));
  } catch (const Error& error) {
    if (error.error_number() != ENOENT) throw;
  }
}

void empty_in_root(int root, const std::string& path) {
  try {
    const UniqueFd directory = sys::open_confined(root, path, O_RDONLY | O_DIRECTORY, sys::Confine::in_root);
    const std::string by_fd = fmt::format("/proc/self/fd/{}", directory.get());
    for (const std::string& name : list_directory(by_fd)) sys::remove_tree(by_fd + "/" + name);
  } catch (const Error& error) {
    if (error.error_number() != ENOENT) throw;
  }
}

void replace_in_root(int root, const std::string& path, std::string_view content) {
  remove_in_root(root, path);
  const UniqueFd parent = open_directory_of(root, path);
  const UniqueFd file = sys::open_at(parent.get(), path.substr(path.rfind('/') + 1),
                                     O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
  sys::write_all(file.get(), content, path);
  sys::chmod_fd(file.get(), 0644, path);
}

void make_neutral(const std::string& path, const std::vector<AptSource>& sources) {
  const UniqueFd root = sys::open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  for (const char* name : kNotForTemplates) remove_in_root(root.get(), name);
  for (const char* name : kEmptied) empty_in_root(root.get(), name);
  // Empty, not missing: systemd then gives each container an id of its own without holding it for a first
  // boot.
  replace_in_root(root.get(), "etc/machine-id", "");
  std::string lines;
  for (const AptSource& source : sources) lines += template_line(source) + "\n";
  empty_in_root(root.get(), "etc/apt/sources.list.d");
  replace_in_root(root.get(), "etc/apt/sources.list", lines);
}

}  // namespace

void check_debian_options(const DebianOptions& options) {
  if (std::find(std::begin(kSuites), std::end(kSuites), options.suite) == std::end(kSuites))
    throw usage_error(fmt::format("suite '{}' is not known", printable(options.suite)))
        .hint("bookworm or trixie");
  for (const std::string& package : options.packages) {
    if (!is_package_name(package))
      throw usage_error(fmt::format("'{}' is not the name of a Debian package", printable(package)));
  }
}

std::vector<std::string> debian_command(const std::string& builder, const DebianOptions& options,
                                        const std::vector<AptSource>& sources, const std::string& keyring,
                                        const std::string& root) {
  const std::string include = "--include=" + join(packages_of(options), ",");
  std::vector<std::string> command = {builder, "--variant=minbase", include};
  if (builder.ends_with("/debootstrap")) {
    // It takes one archive only: the container's own apt brings what the others have.
    if (!keyring.empty()) command.push_back("--keyring=" + keyring);
    command.insert(command.end(), {options.suite, root, sources.front().uri});
    return command;
  }
  command.insert(command.end(), {"--mode=root", "--format=directory", options.suite, root});
  for (const AptSource& source : sources) command.push_back(builder_line(source, keyring));
  return command;
}

std::vector<std::string> proxy_environment(std::string_view apt_config) {
  std::vector<std::string> variables;
  for (const std::string& line : split(apt_config, '\n')) {
    for (const std::string_view scheme : {"http", "https"}) {
      const std::string key = fmt::format("Acquire::{}::Proxy \"", scheme);
      if (!line.starts_with(key) || !line.ends_with("\";")) continue;
      const std::string value = line.substr(key.size(), line.size() - key.size() - 2);
      if (!value.empty() && value != "DIRECT") variables.push_back(fmt::format("{}_proxy={}", scheme, value));
    }
  }
  return variables;
}

TemplateInfo build_debian(TemplateStore& store, const std::string& name, const DebianOptions& options,
                          const Progress& progress) {
  check_debian_options(options);
  return store.create(name, [&](const std::string& root) {
    const std::string builder = step("find builder", [&] { return find_builder(); });
    const std::vector<AptSource> sources =
        step("read apt sources", [&] { return sources_of_host(options.suite); });
    const std::string keyring = sys::exists(kDebianKeyring) ? kDebianKeyring : "";
    if (progress)
      progress(fmt::format("building Debian {} from {} with {}: takes about a minute", options.suite,
                           without_credentials(sources.front().uri), builder.substr(builder.rfind('/') + 1)));
    step("run builder",
         [&] { run_builder(debian_command(builder, options, sources, keyring, root), progress); });
    step("make neutral", [&] { make_neutral(root, sources); });
    TemplateInfo info;
    info.kind = "debian";
    info.source = without_credentials(sources.front().uri);
    info.suite = options.suite;
    info.packages = options.packages;
    return info;
  });
}

}  // namespace holm::storage
