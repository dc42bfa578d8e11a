#include "isolation/protected_program.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sys.h"
#include "isolation/mount_api.h"

namespace holm::isolation {

UniqueFd open_protected_program() {
  return with_frame("protect Holm's program file", [] {
    // The magic link names the file that runs, also when its name was replaced by an upgrade meanwhile.
    UniqueFd program = sys::open("/proc/self/exe", O_PATH);
    if (is_program_protected()) return program;  // from a detached mount, of which no other can be made
    UniqueFd copy = copy_mount(program.get(), "", Depth::one_mount);
    add_mount_flags(copy.get(), kReadOnly | kNoSuid | kNoDev, Depth::one_mount, "program");
    return copy;
  });
}

bool is_program_protected() {
  struct statvfs status = {};
  return ::statvfs("/proc/self/exe", &status) == 0 && (status.f_flag & ST_RDONLY) != 0;
}

void execute_protected(int program, const std::vector<std::string>& arguments) {
  std::vector<char*> words;
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  ::execveat(program, "", words.data(), environ, AT_EMPTY_PATH);
  throw Error::system("execute Holm's program anew");
}

}  // namespace holm::isolation
