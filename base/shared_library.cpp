#include "base/shared_library.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include "base/error.h"

namespace holm {

SharedLibrary::SharedLibrary(const std::string& file, const std::string& package)
    : name_(file.substr(0, file.find('.'))) {
  void* const handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw Error(fmt::format("load {}: {}", name_, ::dlerror()))
        .hint(fmt::format("install Debian's package {}", package));
  handle_ = std::shared_ptr<void>(handle, [](void* library) { ::dlclose(library); });
}

void* SharedLibrary::find(const char* name) const {
  void* const function = ::dlsym(handle_.get(), name);
  if (!function) throw Error(fmt::format("load {}: function '{}' is missing", name_, name));
  return function;
}

}  // namespace holm
