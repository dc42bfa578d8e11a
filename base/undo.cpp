#include "base/undo.h"

namespace holm {

UndoStack::~UndoStack() {
  Error unreported("undo");  // destructors don't throw, and nobody is left to tell
  run(unreported);
}

void UndoStack::push(std::string name, std::function<void()> action) {
  actions_.emplace_back(std::move(name), std::move(action));
}

void UndoStack::run(Error& error) {
  while (!actions_.empty()) {
    auto [name, action] = std::move(actions_.back());
    actions_.pop_back();
    try {
      action();
    } catch (const std::exception& failure) {
      error.also(name + ": " + failure.what());
    }
  }
}

}  // namespace holm
