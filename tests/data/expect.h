#pragma once

#include <gtest/gtest.h>

#include <string>

/// Expects an exception of this very kind, whose message has every one of the parts.
template <typename Error, typename Function, typename... Parts>
void expect_error(Function&& function, const Parts&... parts) {
  try {
    function();
    ADD_FAILURE() << "no error; expected one with: " << (std::string() + ... + (std::string(parts) + " "));
  } catch (const Error& error) {
    const std::string message = error.what();
    for (const std::string& part : {std::string(parts)...})
      EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
  }
}
