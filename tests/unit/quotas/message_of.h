// Assertions on the messages of errors.
#pragma once

#include <string>

#include "base/error.h"

namespace holm::test {

// The message of the Error that `body` throws; empty where it throws none.
template <class Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace holm::test
