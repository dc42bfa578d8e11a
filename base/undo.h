// Undo for a sequence that makes things: registered on the line after each thing is made.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace holm {

// Runs the registered actions in reverse order, unless dismissed. An action runs after the function that
// registered it was left, so it captures what it needs by value.
class UndoStack {
 public:
  UndoStack() = default;
  UndoStack(const UndoStack&) = delete;
  UndoStack& operator=(const UndoStack&) = delete;
  ~UndoStack();

  void push(std::string name, std::function<void()> action);
  // What was made stays.
  void dismiss() { actions_.clear(); }
  // Undoes now; each action that fails becomes an "also:" line of `error`.
  void run(Error& error);

 private:
  std::vector<std::pair<std::string, std::function<void()>>> actions_;
};

// Runs `body` with an undo stack; an Error that leaves it is rethrown after everything was undone.
template <class Body>
decltype(auto) with_undo(Body&& body) {
  UndoStack undo;
  try {
    return std::forward<Body>(body)(undo);
  } catch (Error& error) {
    undo.run(error);
    throw;
  }
}

}  // namespace holm
