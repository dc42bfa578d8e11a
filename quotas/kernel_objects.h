// Tells apart what only looks alike: whether descriptors of two processes are one open file, and the like.
// Not for other folders.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <set>
#include <unordered_map>

namespace holm::quotas {

// A set of kernel objects, named by a process that has them, and compared by kcmp(2), which tells the order
// of two objects without telling what they are. Where the kernel cannot (CONFIG_KCMP), or we may not trace
// the processes, each name is an object of its own.
class KernelObjects {
 public:
  enum class Kind { open_file, memory };
  explicit KernelObjects(Kind kind) : kind_(kind) {}

  // True where the object was not in the set yet. Only objects with the same `likeness` are compared: any
  // hash that is equal for names of one object. An object that vanishes meanwhile is not counted again.
  bool add(size_t likeness, pid_t process, int descriptor = 0);
  size_t size() const { return size_; }

 private:
  struct Name {
    pid_t process;
    int descriptor;
  };
  struct Order {
    Kind kind;
    bool operator()(const Name& a, const Name& b) const;
  };

  Kind kind_;
  size_t size_ = 0;
  std::unordered_map<size_t, std::set<Name, Order>> alike_;
};

// Whether two tasks share their table of descriptors; true also where one of them has ended.
bool shares_descriptors(pid_t task, pid_t other);

}  // namespace holm::quotas
