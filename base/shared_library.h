// A library that is loaded only when it is needed, as it takes longer to load than most commands take.
#pragma once

#include <memory>
#include <string>

namespace holm {

class SharedLibrary {
 public:
  // `file`: "libnftables.so.1"; where it cannot be loaded, the error names Debian's `package`.
  SharedLibrary(const std::string& file, const std::string& package);

  // Throws where the library has no such function.
  template <class Function>
  void resolve(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(find(name));
  }

 private:
  void* find(const char* name) const;

  std::string name_;  // "libnftables"
  std::shared_ptr<void> handle_;
};

}  // namespace holm
