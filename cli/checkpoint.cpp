// Verbs that save containers and bring them back: save restore checkpoint.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/unit.h"
#include "checkpoint/archive.h"
#include "checkpoint/pre_dump.h"
#include "checkpoint/restore.h"
#include "checkpoint/save.h"
#include "checkpoint/store.h"
#include "cli/command.h"
#include "cli/inspect_checkpoint.h"
#include "cli/progress_line.h"

namespace holm::cli {
namespace {

struct CheckpointOptions {
  std::string name;
  std::string file;
  std::string tag;
  std::string new_name;
  std::string timeout;
  std::vector<std::string> words;
  bool paused = false;
  bool leave_running = false;
  bool config = false;
  bool live = false;
  bool pre = false;
};

// Where a saved container is written: standard output, or a file that gets its name when it is whole and on
// disk. Until then it has none, where its file system can do that.
class Destination {
 public:
  explicit Destination(const std::string& file) : file_(file) {
    if (file == "-") {
      if (::isatty(STDOUT_FILENO))
        throw usage_error("a checkpoint is nothing for a terminal").hint("name a file, or a pipe behind '-'");
      ::signal(SIGPIPE, SIG_IGN);  // a reader that ends is an Error, and the container runs on
      fd_ = sys::duplicate(STDOUT_FILENO);
      return;
    }
    const auto there = sys::stat_path(file);
    if (file.ends_with('/') || (there && S_ISDIR(there->st_mode)))
      throw usage_error(fmt::format("'{}' is a directory", printable(file))).hint("name a file in it");
    temporary_ = fmt::format("{}.{}.new", file, ::getpid());
    try {
      fd_ = sys::open(parent_of(file), O_WRONLY | O_TMPFILE, 0600);
    } catch (const Error& error) {
      if (error.error_number() != EOPNOTSUPP && error.error_number() != EISDIR) throw;
      fd_ = sys::open(temporary_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
      has_name_ = true;
    }
  }
  ~Destination() {
    if (has_name_) ::unlink(temporary_.c_str());
  }
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;

  int fd() const { return fd_.get(); }
  void finish() {
    if (temporary_.empty()) return;
    sys::sync_fd(fd_.get(), file_);
    // linkat(2) replaces nothing, so it is a rename that gives the file its name.
    if (!has_name_) {
      ::unlink(temporary_.c_str());  // of a process that was killed and had our number
      sys::link_fd(fd_.get(), temporary_);
    }
    has_name_ = true;
    sys::rename(temporary_, file_);
    has_name_ = false;
    sync_directory(parent_of(file_));
  }

 private:
  std::string file_;
  std::string temporary_;
  bool has_name_ = false;  // the temporary one
  UniqueFd fd_;
};

checkpoint::SaveOptions save_options(const CheckpointOptions& options) {
  checkpoint::SaveOptions save;
  if (!options.timeout.empty())
    save.timeout = std::max(std::chrono::ceil<std::chrono::seconds>(parse_time(options.timeout, "--timeout")),
                            std::chrono::seconds(1));
  return save;
}

void print_report(const Program& program, const checkpoint::SaveReport& report) {
  const auto& manifest = report.manifest;
  print_losses(manifest.name, report.losses);
  uint64_t bytes = 0;
  for (const auto& part : manifest.parts) bytes += part.size;
  if (program.globals.json) {
    fmt::print(stderr, "{}\n",
               nlohmann::json({{"event", "saved"},
                               {"container", manifest.name},
                               {"frozen_ms", report.frozen.count()},
                               {"bytes", bytes}})
                   .dump());
  } else {
    fmt::print(stderr, "saved {}: {} before compression, frozen for {} ms\n", manifest.name,
               describe_bytes(Bytes{bytes}), report.frozen.count());
  }
}

int save(const Program& program, const CheckpointOptions& options) {
  require_root();
  const auto installation = runtime::open_installation();
  runtime::require_container(installation.paths, options.name);
  Destination destination(options.file);
  ProgressLine progress(program.globals);
  checkpoint::SaveOptions save = save_options(options);
  save.tag = "file";
  save.afterwards = options.leave_running ? checkpoint::Afterwards::run_on : checkpoint::Afterwards::stop;
  save.deliver = [&](const std::string& directory) {
    checkpoint::pack(directory, destination.fd(), [&](const auto& report) { progress.show(report); });
    destination.finish();
  };
  const auto report = checkpoint::save(installation, options.name, save);
  progress.end();
  print_report(program, report);
  return 0;
}

int make_checkpoint(const Program& program, const CheckpointOptions& options, const std::string& name,
                    const std::string& tag) {
  const auto installation = runtime::open_installation();
  checkpoint::SaveOptions save = save_options(options);
  save.tag = tag;
  if (tag == runtime::kSuspendedTag)
    throw usage_error(fmt::format("'{}' is the tag of 'holm stop --checkpoint'", tag))
        .hint("choose another one");
  save.afterwards = checkpoint::Afterwards::run_on;
  print_report(program, checkpoint::save(installation, name, save));
  return 0;
}

int save_memory(const Program& program, const CheckpointOptions& options, const std::string& name) {
  const auto report = checkpoint::pre_dump(runtime::open_installation(), name, save_options(options).timeout);
  if (program.globals.json) {
    fmt::print(stderr, "{}\n",
               nlohmann::json({{"event", "memory-saved"},
                               {"container", name},
                               {"level", report.level},
                               {"frozen_ms", report.frozen.count()},
                               {"bytes", report.written},
                               {"unchanged_bytes", report.skipped}})
                   .dump());
  } else {
    fmt::print(stderr, "saved memory of {}: {}, and {} that was not written since, frozen for {} ms\n", name,
               describe_bytes(Bytes{report.written}), describe_bytes(Bytes{report.skipped}),
               report.frozen.count());
  }
  return 0;
}

bool is_file(const runtime::Installation& installation, const std::string& word) {
  if (word == "-" || !is_dns_label(word)) return true;
  return !runtime::container_exists(installation.paths, word) && sys::exists(word);
}

UniqueFd open_input(const std::string& file) {
  if (file == "-") {
    if (::isatty(STDIN_FILENO))
      throw usage_error("no checkpoint comes out of a terminal").hint("name a file");
    return sys::duplicate(STDIN_FILENO);
  }
  // O_NONBLOCK: a FIFO would make us wait for a writer.
  UniqueFd fd = sys::open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!S_ISREG(sys::stat_fd(fd.get(), file).st_mode))
    throw Error(fmt::format("'{}' is no regular file", printable(file))).hint("'-' reads standard input");
  return fd;
}

void print_restored(const checkpoint::RestoreReport& report) {
  for (const std::string& warning : report.warnings) print_warning(warning);
  for (const std::string& warning : report.state.warnings)
    print_warning(fmt::format("container '{}': {}", report.state.name, warning));
}

int restore(const Program& program, const CheckpointOptions& options) {
  require_root();
  const auto installation = runtime::open_installation();
  ProgressLine progress(program.globals);
  checkpoint::RestoreOptions restore;
  restore.paused = options.paused;
  restore.new_name = options.new_name;
  restore.progress = [&](const auto& report) { progress.show(report); };
  checkpoint::RestoreReport report;
  if (is_file(installation, options.name)) {
    if (!options.tag.empty())
      throw usage_error(fmt::format("'{}' is a file, which has no tags", printable(options.name)));
    report = checkpoint::restore_file(installation, open_input(options.name).get(), restore);
  } else {
    if (!options.new_name.empty())
      throw usage_error("'--name' goes with a file")
          .hint("'holm clone --live' makes a second container of a running one");
    report = checkpoint::restore_tag(
        installation, options.name, checkpoint::tag_to_restore(installation.paths, options.name, options.tag),
        restore);
  }
  progress.end();
  print_restored(report);
  return 0;
}

int clone(const CheckpointOptions& options) {
  require_root();
  if (!options.live)
    throw usage_error("a clone of files alone is not available in this version")
        .hint("'--live' clones a running container");
  print_restored(checkpoint::clone_live(runtime::open_installation(), options.name, options.new_name));
  return 0;
}

int list(const Program& program, const std::string& name) {
  const auto installation = runtime::open_installation();
  runtime::require_container(installation.paths, name);
  print_checkpoints(program.globals, installation.paths, name);
  return 0;
}

int remove(const std::string& name, const std::string& tag) {
  const auto installation = runtime::open_installation();
  checkpoint::remove_tag(installation, name, tag);
  return 0;
}

int inspect(const Program& program, const CheckpointOptions& options, const std::string& what,
            const std::string& tag) {
  const auto installation = runtime::open_installation();
  const auto manifest = is_file(installation, what)
                            ? checkpoint::read_manifest_of_file(open_input(what).get())
                            : checkpoint::read_manifest_of_tag(installation.paths, what, tag);
  if (options.config)
    print_output(manifest.config);
  else
    print_manifest(program.globals, manifest);
  return 0;
}

int checkpoint_verb(const Program& program, const CheckpointOptions& options) {
  require_root();
  const auto& words = options.words;
  const auto word = [&](size_t index) { return index < words.size() ? words[index] : std::string(); };
  const auto want = [&](size_t least, size_t most, const char* usage) {
    if (words.size() < least || words.size() > most)
      throw usage_error(fmt::format("say 'holm checkpoint {}'", usage));
  };
  if (word(0) == "inspect") {
    want(2, 3, "inspect FILE' or 'holm checkpoint inspect NAME [TAG]");
    return inspect(program, options, word(1), word(2));
  }
  if (options.config) throw usage_error("'--config' goes with 'holm checkpoint inspect'");
  if (options.pre && (word(0) == "list" || word(0) == "remove"))
    throw usage_error("'--pre' goes with 'holm checkpoint NAME'");
  if (word(0) == "list") {
    want(2, 2, "list NAME");
    return list(program, word(1));
  }
  if (word(0) == "remove") {
    want(3, 3, "remove NAME TAG");
    return remove(word(1), word(2));
  }
  if (options.pre) {
    want(1, 1, "--pre NAME");
    return save_memory(program, options, word(0));
  }
  want(1, 2, "NAME [TAG]");
  return make_checkpoint(program, options, word(0), words.size() > 1 ? word(1) : checkpoint::kDefaultTag);
}

}  // namespace

void add_checkpoint_verbs(CLI::App& app, Program& program) {
  const auto options = std::make_shared<CheckpointOptions>();
  const auto act = [&program](CLI::App* verb, std::function<int()> action) {
    verb->callback([&program, action = std::move(action)] { program.action = action; });
  };

  CLI::App* verb = app.add_subcommand("save", "save a running container to one file, and stop it");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("file", options->file)->required()->option_text("FILE");
  verb->add_flag("--leave-running", options->leave_running, "let it run on");
  verb->add_option("-t,--timeout", options->timeout, "how long its processes may stand still");
  verb->footer("FILE '-' is standard output.");
  act(verb, [&program, options] { return save(program, *options); });

  verb = app.add_subcommand("restore", "bring a saved container back, with all of its processes");
  verb->add_option("name", options->name)->required()->option_text("FILE|NAME");
  verb->add_option("tag", options->tag)->option_text("TAG");
  verb->add_option("--name", options->new_name, "what to call it, if not as it was called");
  verb->add_flag("--paused", options->paused, "let nothing of it run before 'holm resume'");
  verb->footer("FILE '-' is standard input. A NAME is a container that has checkpoints of its own.");
  act(verb, [&program, options] { return restore(program, *options); });

  verb = app.add_subcommand("clone", "make a second container of a running one");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("new-name", options->new_name)->required()->option_text("NEW-NAME");
  verb->add_flag("--live", options->live, "with its processes as they are now; the first one runs on");
  act(verb, [options] { return clone(*options); });

  verb = app.add_subcommand("checkpoint",
                            "keep the state of a running container in its own store; list, inspect, remove");
  verb->add_option("words", options->words)
      ->required()
      ->option_text("NAME [TAG] | list NAME | inspect FILE|NAME [TAG] | remove NAME TAG");
  verb->add_flag("--pre", options->pre,
                 "save memory alone, and let it run: the next checkpoint has less to save");
  verb->add_flag("--config", options->config, "with inspect: the config alone, as TOML");
  verb->add_option("-t,--timeout", options->timeout, "how long its processes may stand still");
  act(verb, [&program, options] { return checkpoint_verb(program, *options); });
}

}  // namespace holm::cli
