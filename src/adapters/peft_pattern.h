#pragma once

#include <chrono>
#include <optional>
#include <regex>
#include <string>
#include <vector>

namespace respeft::adapters {

/// The entries of PEFT's `rank_pattern` or `alpha_pattern`: regular expressions over the names of modules, each with a value.
class ModulePatterns {
 public:
  struct Entry {
    std::string pattern;
    double value;
  };

  /// Throws `std::runtime_error` with the reason on a pattern that Python would read in another way, or that is too large.
  void add(const std::string& pattern, double value);

  /// The value of the first pattern, in the order of `add`, for which Python's `re.match(rf"(.*\.)?({pattern})$", module)` holds,
  /// as in PEFT's `get_pattern_key`. Throws `std::runtime_error` where matching takes too long.
  std::optional<double> find(const std::string& module) const;

  bool empty() const { return entries_.empty(); }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
  std::vector<std::regex> compiled_;  ///< one for each entry
  mutable std::chrono::nanoseconds spent_{0};
};

}  // namespace respeft::adapters
