#include <fmt/format.h>
#include <respeft/core/options.h>

namespace respeft {

std::string to_string(const OptionValue& value) {
  return std::visit([](const auto& v) { return fmt::format("{}", v); }, value);
}

}  // namespace respeft
