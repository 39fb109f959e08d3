#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace respeft::test {

/// Expects `call` to throw `Error` with every one of `parts` in its message.
template <class Error, class Call>
void expect_error(const Call& call, const std::vector<std::string>& parts) {
  try {
    call();
    ADD_FAILURE() << "nothing was thrown; expected an error with: " << ::testing::PrintToString(parts);
  } catch (const Error& error) {
    const std::string message = error.what();
    for (const auto& part : parts) EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
  }
}

}  // namespace respeft::test
